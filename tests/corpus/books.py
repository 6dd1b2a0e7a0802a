"""A PDF and an EPUB made for the tests, from texts that are known."""

import datetime
import io
import zipfile
from collections.abc import Mapping, Sequence

from fpdf import FPDF

CONTAINER = (
    '<?xml version="1.0"?><container xmlns="urn:oasis:names:tc:opendocument:xmlns:container" version="1.0">'
    '<rootfiles><rootfile full-path="OPS/book.opf" media-type="application/oebps-package+xml"/></rootfiles>'
    "</container>"
)
PACKAGE = """<?xml version="1.0"?>
<package xmlns="http://www.idpf.org/2007/opf" version="3.0" unique-identifier="id">
<metadata xmlns:dc="http://purl.org/dc/elements/1.1/">
<dc:identifier id="id">urn:x</dc:identifier><dc:title>O moinho do vale</dc:title>
<dc:creator>Ana Lima</dc:creator><dc:creator>Bruno Sá</dc:creator>
<dc:language>pt-BR</dc:language><dc:date>2019-05-02T00:00:00Z</dc:date>
<dc:rights>https://creativecommons.org/licenses/by/4.0/</dc:rights></metadata>
<manifest><item id="nav" href="nav.xhtml" media-type="application/xhtml+xml" properties="nav"/>
{items}</manifest><spine><itemref idref="nav"/>{spine}</spine></package>"""


class Book(FPDF):
    """Pages with a running head and a number at the foot."""

    def header(self) -> None:
        self.set_font("Times", size=9)
        self.cell(0, 8, f"The mill of the valley - {self.page_no()}", new_x="LMARGIN", new_y="NEXT")

    def footer(self) -> None:
        self.set_y(-15)
        self.set_font("Times", size=9)
        self.cell(0, 8, f"Page {self.page_no()}", align="C")


def pdf(chapters: Mapping[str, Sequence[str]], width: float = 110) -> bytes:
    """Every chapter begins on a page of its own; lines are narrow, so that there are many, some hyphened."""
    book = Book()
    book.set_title("The mill")
    book.set_author("Ana Lima")
    book.set_lang("en-GB")
    book.set_creation_date(datetime.datetime(2021, 3, 4, tzinfo=datetime.UTC))
    for title, paragraphs in chapters.items():
        book.add_page()
        book.set_font("Times", "B", 18)
        book.multi_cell(0, 10, title, new_x="LMARGIN", new_y="NEXT")
        book.set_font("Times", size=11)
        for paragraph in paragraphs:
            # Soft hyphens: fpdf2 breaks lines there and draws a hyphen.
            cut = paragraph.replace("visitor", "visi\u00adtor").replace("family", "fam\u00adily")
            book.multi_cell(width, 6, cut, align="J", new_x="LMARGIN", new_y="NEXT")
            book.ln(4)
    return bytes(book.output())


def epub(chapters: Sequence[str], package: str = PACKAGE) -> bytes:
    """Chapters are the bodies of XHTML files; they are stored in another order than they are read."""
    names = [f"text/chapter {number}.xhtml" for number in range(len(chapters))]
    items = "".join(
        f'<item id="c{number}" href="{name.replace(" ", "%20")}" media-type="application/xhtml+xml"/>'
        for number, name in enumerate(names)
    )
    spine = "".join(f'<itemref idref="c{number}"/>' for number in range(len(chapters)))
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mimetype", "application/epub+zip", zipfile.ZIP_STORED)
        archive.writestr("META-INF/container.xml", CONTAINER)
        archive.writestr("OPS/book.opf", package.format(items=items, spine=spine))
        archive.writestr("OPS/nav.xhtml", "<html><body><nav><ol><li>Contents</li></ol></nav></body></html>")
        for name, chapter in reversed(list(zip(names, chapters, strict=True))):
            archive.writestr(
                f"OPS/{name}",
                f'<html xmlns="http://www.w3.org/1999/xhtml"><head><title>x</title></head><body>{chapter}</body></html>',
            )
    return data.getvalue()
