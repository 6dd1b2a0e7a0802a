"""A crawl in as few lines as Scrapy allows: follow links, each once, obey robots.txt, keep the bodies.

`python -m tests.benchmarks.reference_spider START_URL FILE REQUESTS REQUESTS_PER_HOST`
"""

import gzip
import json
import sys
from typing import Any
from urllib.parse import urljoin

import scrapy
from scrapy.crawler import CrawlerProcess
from selectolax.lexbor import LexborHTMLParser

url, file, requests, per_host = sys.argv[1:]
seen = {url}


class Pages(scrapy.Spider):
    name, start_urls = "reference", [url]

    def parse(self, response: Any) -> Any:
        pages.write(json.dumps({"url": response.url, "html": response.text}) + "\n")
        for anchor in LexborHTMLParser(response.body).css("a[href]"):
            link = urljoin(response.url, anchor.attributes["href"])
            if link not in seen:
                seen.add(link)
                yield scrapy.Request(link)


limits = {"CONCURRENT_REQUESTS": int(requests), "CONCURRENT_REQUESTS_PER_DOMAIN": int(per_host)}
process = CrawlerProcess({"ROBOTSTXT_OBEY": True, "DOWNLOAD_DELAY": 0, "LOG_LEVEL": "WARNING", **limits})
process.crawl(Pages)
with gzip.open(file, "wt", compresslevel=6) as pages:
    process.start()
