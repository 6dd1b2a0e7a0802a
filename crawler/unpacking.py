"""Bodies that come packed (Content-Encoding): Scrapy unpacks them; here it is told what was wrong."""

from scrapy import Request, Spider
from scrapy.downloadermiddlewares.httpcompression import HttpCompressionMiddleware
from scrapy.exceptions import IgnoreRequest
from scrapy.http import Response

BOMB_RATIO = 100
"""Bytes out of one byte in, from which a body that is too large is a bomb. HTML is seldom packed twentyfold,
and a bomb a thousandfold, which is as far as deflate goes."""
BEGINNING_BYTES = 4 << 10
"""Of a packed body, to see that: how far all of it was unpacked cannot be asked."""


class BombError(IgnoreRequest):
    """The body is packed so that it overwhelms whoever unpacks it."""


class TooLargeError(IgnoreRequest):
    """The body is larger, unpacked, than is wanted."""


class BrokenCompressionError(Exception):
    """The body is not in the coding that it is said to be in."""


class Unpacking(HttpCompressionMiddleware):
    """Scrapy's own, whose errors say what was wrong."""

    def process_response(
        self, request: Request, response: Response, spider: Spider | None = None
    ) -> Request | Response:
        """Raises BombError, TooLargeError or BrokenCompressionError."""
        try:
            return super().process_response(request, response)
        except IgnoreRequest as error:
            if self._is_bomb(response):
                told = f"its {len(response.body):,} bytes unpack to more than {BOMB_RATIO} times as many"
                raise BombError(told) from error
            told = f"its {len(response.body):,} bytes are more than crawl.max_bytes when unpacked"
            raise TooLargeError(told) from error
        except Exception as error:
            # Each decoder raises errors of its own, without a common class.
            coding = b", ".join(response.headers.getlist("Content-Encoding")).decode("latin-1")
            raise BrokenCompressionError(f"its body is not the {coding} that its header says") from error

    def _is_bomb(self, response: Response) -> bool:
        """By how its beginning unpacks, within bounds."""
        beginning = response.body[:BEGINNING_BYTES]
        codings = response.headers.getlist("Content-Encoding")
        try:
            self._handle_encoding(beginning, codings, BOMB_RATIO * len(beginning))
        except ValueError as error:
            return hasattr(error, "decompressed_size")
        except Exception:
            return False  # a decoder that does not take a part
        return False
