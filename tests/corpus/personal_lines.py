"""Lines with personal data and lines that only look so, labelled: what the recogniser is measured on.

Nobody's data: numbers are drawn at random and have right check digits, or lie in ranges kept for
fiction (Ofcom's, NANPA's 555-01xx) or in blocks of zeros where a country keeps none; domains are
those of RFC 2606 and RFC 6761; keys have an issuer's form and random signs. They are made when the
tests run, so that no scanner of repositories takes a line of this file for a key.
"""

import base64
import random
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pipeline.corpus.personal.matching import Kind
from pipeline.corpus.personal.numbers import luhn, with_cnpj_check_digits, with_cpf_check_digits

SEED = 13
LETTERS = string.ascii_letters + string.digits
HEXADECIMAL = "123456789abcdef"


Make = Callable[[random.Random], str]


@dataclass(frozen=True)
class Line:
    """A line, and what should be found in it: kind, begin and end."""

    text: str
    spans: tuple[tuple[Kind, int, int], ...]


def labelled_lines() -> list[Line]:
    """All of them, the same at every call."""
    chance = random.Random(SEED)
    lines = [Line(text, ()) for text in (*NEGATIVES, *_negatives(chance))]
    for kind, (templates, makers) in POSITIVES.items():
        for template in templates:
            # Each form in each sentence, with a value of its own.
            lines += [_filled(template, kind, make(chance)) for make in makers]
    for kind, before, found, after in BY_HAND:
        lines.append(Line(before + found + after, ((kind, len(before), len(before) + len(found)),)))
    return lines


def _filled(template: str, kind: Kind, value: str) -> Line:
    before, _, after = template.partition("@@")
    return Line(before + value + after, ((kind, len(before), len(before) + len(value)),))


def some(chance: random.Random, signs: str, count: int) -> str:
    return "".join(chance.choice(signs) for _ in range(count))


def digits(chance: random.Random, count: int) -> str:
    return some(chance, string.digits, count)


def email(domain: str, form: str = "{first}.{last}") -> Make:
    def make(chance: random.Random) -> str:
        first = chance.choice(("ana", "joão", "maria", "john", "mary", "li", "zé", "o'neil"))
        last = chance.choice(("silva", "souza", "smith", "pereira99", "jones"))
        return f"{form.format(first=first, last=last)}@{domain}"

    return make


def card(prefix: str, length: int, groups: Sequence[int] = (), gap: str = "") -> Make:
    def make(chance: random.Random) -> str:
        body = prefix + digits(chance, length - len(prefix) - 1)
        number = next(body + check for check in string.digits if luhn(body + check))
        return _grouped(number, groups, gap)

    return make


def _grouped(number: str, groups: Sequence[int], gap: str) -> str:
    pieces, at = [], 0
    for size in groups:
        pieces.append(number[at : at + size])
        at += size
    return gap.join([*pieces, *([number[at:]] if number[at:] else [])])


def cpf(form: str) -> Make:
    return lambda chance: _in_form(with_cpf_check_digits(digits(chance, 9)), form)


def cnpj(form: str, signs: str = string.digits, branch: str = "0001") -> Make:
    return lambda chance: _in_form(with_cnpj_check_digits(some(chance, signs, 8) + branch), form)


def _in_form(number: str, form: str) -> str:
    signs = iter(number)
    return "".join(next(signs) if sign == "#" else sign for sign in form)


def phone(form: str) -> Make:
    """`form` with each # filled; the rest of the form keeps the number within a range that nobody has."""
    return lambda chance: "".join(chance.choice("123456789") if sign == "#" else sign for sign in form)


def ipv4(chance: random.Random) -> str:
    first = chance.choice((45, 78, 93, 141, 177, 187, 200, 201))
    return f"{first}.{chance.randint(40, 255)}.{chance.randint(0, 255)}.{chance.randint(1, 254)}"


def ipv6(chance: random.Random) -> str:
    return f"2{chance.choice('68')}04:{some(chance, HEXADECIMAL, 4)}:{some(chance, HEXADECIMAL, 3)}::1"


def ipv6_whole(chance: random.Random) -> str:
    return ":".join(["2a02", *(some(chance, HEXADECIMAL, 4) for _ in range(7))])


def key(form: str, count: int, signs: str = LETTERS, after: str = "") -> Make:
    return lambda chance: form + some(chance, signs, count) + after


def json_web_token(chance: random.Random) -> str:
    parts = (b'{"alg":"HS256"}', b'{"sub":"1"}')
    head, body = (base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)
    return f"{head}.{body}.{some(chance, LETTERS + '-_', 43)}"


def private_key(kind: str) -> Make:
    def make(chance: random.Random) -> str:
        body = "\n".join(some(chance, LETTERS + "+/", 64) for _ in range(6))
        return f"-----BEGIN {kind}-----\n{body}\n-----END {kind}-----"

    return make


def word_to_remember(chance: random.Random) -> str:
    sign = chance.choice("!#%+?-")
    return f"{some(chance, string.ascii_letters, 4)}{digits(chance, 2)}{sign}{some(chance, LETTERS, 4)}z"


POSITIVES: dict[Kind, tuple[Sequence[str], Sequence[Make]]] = {
    "email": (
        (
            "Write to @@ if anything is unclear.",
            "Reported-by: Somebody <@@>",
            "Dúvidas? Escreva para @@, que respondemos em dois dias.",
            "| Secretaria | [@@](mailto:nobody) | sala 12 |",
            "contato: @@",
        ),
        (
            email("example.org"),
            email("mail.example.com", "{first}+lists"),
            email("empresa.com.br.example", "{first}_{last}"),
            email("ensino.pt.test", "{first}-{last}.2024"),
            email("a1.example.net", "{first}"),
            email("münchen.example", "{last}"),
        ),
    ),
    "ip": (
        (
            "Failed password for root from @@ port 22 ssh2",
            "The request came from @@.",
            'http://@@:8080/index.html answers "403"',
            "O acesso partiu do endereço @@, às 3 da manhã",
            "@@ - - [10/Oct/2000:13:55:36 -0700]",
        ),
        (ipv4, ipv4, ipv4),
    ),
    "phone": (
        (
            "Call @@ before noon.",
            "Telefone: @@",
            "Fale com a portaria pelo telefone @@ ou passe lá.",
            "tel. @@, room 7",
            "WhatsApp @@ (só mensagens)",
        ),
        (
            phone("(11) 90000-00##"),
            phone("+55 21 90000-00##"),
            phone("+55 (11) 3000-00##"),
            phone("11 3000-00##"),
            phone("(0xx31) 3200-00##"),
            phone("1190000 00##"),
            phone("90000-00##"),
            phone("+351 210 000 0##"),
            phone("210 000 0##"),
            phone("910 000 0##"),
            phone("(212) 555-01##"),
            phone("+1 303-555-01##"),
            phone("212.555.01##"),
            phone("020 7946 0###"),
            phone("+44 20 7946 0###"),
            phone("(0161) 496 0###"),
            phone("01632 960###"),
            phone("0044 20 7946 0###"),
            phone("+49 30 23125###"),
        ),
    ),
    "card": (
        (
            "Card number @@, valid until 12/29.",
            "O cartão @@ foi recusado.",
            "pan=@@",
            "paid with @@",
        ),
        (
            card("4", 16),
            card("4", 16, (4, 4, 4), " "),
            card("53", 16, (4, 4, 4), "-"),
            card("2345", 16, (4, 4, 4), " "),
            card("37", 15),
            card("34", 15, (4, 6), " "),
            card("36", 14, (4, 6), " "),
            card("6011", 16, (4, 4, 4), " "),
            card("606282", 16, (4, 4, 4), " "),
            card("506700", 16),
        ),
    ),
    "cpf": (
        (
            "Maria, portadora do CPF @@, residente nesta cidade",
            "CPF nº @@.",
            "The taxpayer (CPF: @@) asked for a refund.",
            "cpf=@@;nome=fulano",
        ),
        (cpf("###.###.###-##"), cpf("###########"), cpf("#########-##"), cpf("### ### ### ##")),
    ),
    "cnpj": (
        (
            "Comércio de Grãos Ltda., inscrita no CNPJ sob o nº @@, neste ato",
            "CNPJ: @@",
            "The firm (CNPJ @@) was founded in 1998.",
        ),
        (
            cnpj("##.###.###/####-##"),
            cnpj("##.###.###/####-##", branch="0002"),
            cnpj("##############"),
            cnpj("########/####-##"),
            cnpj("##.###.###/####-##", string.digits + string.ascii_uppercase, "01DE"),
            cnpj("##############", string.digits + string.ascii_uppercase, "0A01"),
        ),
    ),
    "secret": (
        (
            "export KEY=@@",
            "He committed @@ by mistake.",
            'token: "@@"',
            "A chave era @@\ne foi revogada.",
        ),
        (
            key("AKIA", 16, string.ascii_uppercase + "234567"),
            key("ghp_", 36),
            key("github_pat_", 82),
            key("AIza", 35),
            key("xoxb-", 40),
            key("sk-proj-", 48),
            key("sk_live_", 24),
            key("hf_", 34),
            key("glpat-", 20),
            json_web_token,
            private_key("PRIVATE KEY"),
            private_key("OPENSSH PRIVATE KEY"),
        ),
    ),
}
"""Kind → sentences with @@ where the value goes, and ways to write a value."""

_HAND = random.Random(SEED + 1)
BY_HAND: Sequence[tuple[Kind, str, str, str]] = (
    *(
        ("ip", before, make(_HAND), after)
        for make in (ipv6, ipv6_whole)
        for before, after in (("Connected to ", "."), ("[", "]:443"), ("o host ", " não respondeu"))
    ),
    *(
        ("secret", before, word_to_remember(_HAND), after)
        for before, after in (
            ('password = "', '"'),
            ("DB_PASSWORD=", "\n"),
            ("senha: ", " (trocar depois)"),
            ("'passwd' => '", "',"),
            ("Password: ", ""),
            ('"secret_password": "', '",'),
            ("A senha é ", ", anote."),
            ("postgres://ana:", "@db/x"),
            ("The password is ", ", keep it."),
            ("https://ana:", "@git.example.org/x.git"),
            ("PGPASSWORD='", "' psql"),
        )
    ),
    *(
        ("secret", before, some(_HAND, LETTERS, 32), after)
        for before, after in (
            ('api_key = "', '"'),
            ("API-Key: ", ""),
            ("Authorization: Bearer ", ""),
            ("client_secret=", "&x=1"),
            ("access_token: ", ""),
            ("aws_secret_access_key = ", ""),
            ("chave de api: ", ""),
            ('SECRET_KEY = "', '"'),
        )
    ),
    ("email", "fale com ", "maria [arroba] exemplo [ponto] com", " ainda hoje"),
    ("email", "mail me: ", "john (at) example.org", ""),
    ("email", "mail me: ", "john AT example DOT org", ""),
    ("email", "o endereço é ", "ze arroba exemplo ponto com", "."),
    ("email", "write to ", "john@example", " on the local network"),
    ("email", "Quoted: ", '"john smith"@example.org', ""),
    ("phone", "Rua das Flores 12, ", "3000-0011", ", São Paulo"),
    ("phone", "portaria ", "11 3000-0012", " (24 h)"),
    ("phone", "ou então ", "210 000 013", "."),
    ("phone", "me chama no ", "11900000014", ""),
    ("phone", "Phone: ", "555-0114", ""),
    ("phone", "ring us on ", "(020) 7946 0115", ""),
    ("phone", "Tel.: ", "+55 11 3000-0016", " (24 h)"),
    ("phone", "mobile ", "+44 7700 900118", ""),
    ("cpf", "o número dele: ", "52998224725", ""),
    ("card", "my card: ", "4111-1111 1111 1111", ""),
    ("card", "my card: ", "4222222222222", ""),
    ("secret", "my password is ", "correct horse battery staple", ""),
    ("secret", "password: ", "hunter2", ""),
    ("secret", "senha=", "123456", ""),
    ("secret", "pin: ", "8831", ""),
)
"""Kind, what stands before, what should be found, what stands after; the last ones are hard, and stay so."""

NEGATIVES: Sequence[str] = (
    # Addresses
    "@app.route('/users') and @property stand above a function",
    "git clone git@github.com:user/project.git",
    "<img src='logo@2x.png'>",
    "npm install react@17.0.2 left-pad@1.3.0",
    "user@host:~$ ls",
    "The sign @ is called arroba in Portuguese.",
    "a @ b is matrix multiplication",
    "meet me @ the station. Now",
    "foo@bar",
    "Use the [at] decorator (at) your own risk",
    # IP addresses
    "127.0.0.1 localhost",
    "The router is at 192.168.0.1, the server at 10.0.0.12 or 172.16.5.4.",
    "Documentation uses 192.0.2.1, 198.51.100.7 and 203.0.113.9.",
    "netmask 255.255.255.0, broadcast 255.255.255.255, any 0.0.0.0",
    "Version 1.2.3.4 is old, version 10.45.200.3 is not.",
    "v2.40.1.113 and release 45.67.89.10",
    "Mozilla/5.0 Chrome/96.0.46.110 Safari/537.36",
    "See section 3.2.1.4 and chapter 1.10.2.31.",
    "1.3.6.1.4.1 is an OID, so is 1.3.6.1.2.1.31",
    "libfoo-4.55.66.77.tar.gz",
    "linux 5.10.103.77-1 amd64",
    "::1, fe80::1 and 2001:db8::1 are nobody's",
    "std::vector<int> a::b::c face::cafe",
    "from 12:34:56 to 13:00:00",
    "00:1a:2b:3c:4d:5e is a MAC address",
    "multicast to 224.0.0.251",
    "300.400.500.600 is no address, nor is 1.2.3",
    # Telephone numbers
    "em 2020 havia 912 345 678 habitantes",
    "R$ 1.190.000,00 em 2019-2020",
    "pages 1234-5678 of volume 11",
    "ISBN 978-3-16-148410-0 and ISSN 1234-5679",
    "2021-03-04 10:20:30, 20210304102030",
    "CEP 01310-100, 20040-002 Rio de Janeiro",
    "ZIP 90210-1234",
    "matrix [[1 2 3] [4 5 6] [7 8 9]]",
    "0.123456789 and 3.14159265358979",
    "order 1234567890 was shipped",
    "J. Comp. Appl. Maths 1 (1975) 165-184",
    "RFC 2606, RFC 6761 and ISO 8601:2004",
    "1,000,000,000 and 1 000 000 000",
    "id=84736251 status=200 time=1699999999",
    "de 1998-2001 e 2010-2015",
    "lat -23.5505199, lon -46.6333094",
    "call func(12, 345, 6789) and return 0",
    "SAC 0800 123 4567",
    "1-800-555-0199 is a free number",
    "processo 0001234-56.2019.8.26.0100",
    "Lei nº 13.709, de 14 de agosto de 2018",
    "the call took 1234 5678 9012 nanoseconds",
    "+ 123456789 lines added",
    "RG 12.345.678-9",
    "dial 190 in an emergency, or 112",
    # Cards
    "4111 1111 1111 1112 fails the check",
    "UUID 41111111-1111-1111-1111-111111111111",
    "timestamp 1699999999999 and 1699999999999999",
    "0.4111111111111111",
    "9876 5432 1098 7654 has no issuer",
    "sha1 4111111111111111aabbccddeeff00112233",
    # CPF and CNPJ
    "123.456.789-00 tem o dígito errado",
    "111.111.111-11 passa na conta e não existe",
    "11.222.333/0001-82 tem o dígito errado",
    "00.000.000/0000-00",
    "CPF é o Cadastro de Pessoas Físicas; CNPJ, o das Jurídicas.",
    "12345678901234 is fourteen digits",
    "n. 123.456.789-10/2020",
    # Secrets
    "password = None",
    "password: str = Field(default='')",
    "password=password, token=token",
    "token = get_token()",
    "secret = os.environ['SECRET']",
    'password = "your_password_here"',
    "password: ********",
    "senha: sua-senha-aqui",
    "The password must have 8 characters.",
    "password=${DB_PASSWORD}",
    "Enter the password: then press enter",
    "-----BEGIN CERTIFICATE-----",
    "the line -----BEGIN PRIVATE KEY----- begins a key",
    "commit 9fceb02d0ae598e95dc970b74767f19372d61af8",
    "sha256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "primary key: user_account_id_2024_02",
    "token: the smallest unit of text",
    "basic understanding of cryptography",
    "tokenizer = AutoTokenizer.from_pretrained(path)",
    "api_key: Optional[str] = None",
    "password=self.config.password2",
    "http://user:password@localhost/",
    "key: value, key2: value2",
    "sk-learn is scikit-learn",
    "task-force-of-the-year-2024-and-something-else",
    "A senha é um segredo: não a conte a ninguém.",
    "passe: 2 bilhetes",
    "bearer of bad news",
    "keyword argument token_count=1000000",
    'secret="%s"',
    "hf_hub_download(repo_id)",
)
"""Nothing in these lines is anybody's."""


def _negatives(chance: random.Random) -> list[str]:
    """Numbers of the right length with a wrong check digit, versions, identifiers."""
    wrong_cpf = [_wrong(with_cpf_check_digits(digits(chance, 9)), chance) for _ in range(20)]
    wrong_cnpj = [_wrong(with_cnpj_check_digits(digits(chance, 8) + "0001"), chance) for _ in range(20)]
    wrong_card = [_wrong(card("4", 16)(chance), chance) for _ in range(20)]
    return [
        *(f"CPF {_in_form(number, '###.###.###-##')}" for number in wrong_cpf),
        *(f"CNPJ {_in_form(number, '##.###.###/####-##')}" for number in wrong_cnpj),
        *(f"cartão {_grouped(number, (4, 4, 4), ' ')}" for number in wrong_card),
        *(f"version {ipv4(chance)}" for _ in range(10)),
        *(f"commit {some(chance, '0123456789abcdef', 40)}" for _ in range(10)),
        *(f"id {digits(chance, 12)}" for _ in range(10)),
        *(
            f"{chance.randint(100, 999)} {chance.randint(100, 999)} {chance.randint(100, 999)}"
            for _ in range(10)
        ),
    ]


def _wrong(number: str, chance: random.Random) -> str:
    return number[:-1] + str((int(number[-1]) + chance.randint(1, 9)) % 10)
