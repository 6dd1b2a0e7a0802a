"""The languages that py3langid tells apart: a configuration is checked without loading its model."""

from collections.abc import Sequence

TOLD = frozenset(
    """
    ace af am an ar ary arz as az ba bcl be bg bn br bs ca crh cs cy da de dz el en eo es et eu ext fa
    fi fo fr fuv fy ga gcf gcr gd gl gom grc gu gug guw ha hbo he hi hr ht hu hy id ig is it ja jv ka
    kab kik kk km kn ko ku ky la lb lg lij ln lo lt ltg lv mg mk ml mn mr ms mt my ne nl nn no nso oc om
    or pa pcm pl ps pt qu ro ru rw sa sdh se si sk sl sn so sq sr st sv sw ta te tg th tk tl tr tt ug uk
    ur uz uzs vec vi vo wa wuu xh yo yue zh zu
    """.split()  # noqa: SIM905
)


def undecided_tags(languages: Sequence[str]) -> frozenset[str]:
    """The languages of which varieties are wanted and not all of them: pt of pt-BR."""
    return frozenset(map(primary, languages)) - set(languages)


def primary(language: str) -> str:
    """The language of a tag: pt of pt-BR."""
    return language.split("-", 1)[0]
