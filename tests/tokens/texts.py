"""Real texts that every machine with Python has, and the awkward ones."""

import pydoc_data.topics

PORTUGUESE = """# O moinho

Não há nada mais simples do que um moinho: a água move a roda, a roda move a pedra, e a pedra
transforma o grão em farinha. — “É isso?”, perguntou a avó. — É só isso, mas não é pouco…

- coração, pão, ação, lições
- São João, 24 de junho de 1987: às 18h30, R$ 12,50

```python
def moer(grãos: list[str]) -> str:
    return "".join(grãos)\t# indentação
```
"""

AWKWARD = [
    "",
    " ",
    "  two  spaces   three ",
    "\n\n\n",
    "\r\n\t\v",
    "a\u2028b\u00a0c",
    "😀👩‍👩‍👧 emoji",
    "e\u0301 and é",
    "中文字 العربية עברית",
    "\x00\x01",
    "<0x0A> <0xFF>",
    "<s>a</s><unk><pad><|user|>x<|assistant|>y<|system|>z<|end|>",
    "\u2581a\u2581\u2581b \u2582\u2583",
    "\u2060\u2581 <\u2060s> \u2060\u2060\u2582",
    "###### #### 1234567890 0.001 1e-9",
]


def documentation() -> list[str]:
    """The topics of Python's manual, about 700 kB of English prose and code."""
    return [text for _, text in sorted(pydoc_data.topics.topics.items())]
