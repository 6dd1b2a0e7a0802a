"""Texts and pages that the corpus tests share."""

ENGLISH = (
    "The mill stands where the river bends, and its wheel has turned for two hundred years.",
    "Farmers from the valley used to bring their corn here in the autumn, and they went home with flour.",
    "When the railway came, the owners bought new stones and a turbine that could work through the winter.",
    "Visitors can see both of them today, because the family decided to keep the old machines in order.",
    "A small museum in the barn tells the story of the people who worked at the mill and of their tools.",
    "Every spring the children of the village school bake bread there with flour they ground themselves.",
    "It is said that the water has never failed, even in the driest summers that anybody can remember.",
    "On Sundays the miller opens the gates at ten o'clock and explains to everyone how the gears are made.",
)
PORTUGUESE = (
    "O moinho fica onde o rio faz uma curva, e a sua roda gira há mais de duzentos anos sem parar.",
    "Os lavradores do vale traziam o milho no outono e voltavam para casa com a farinha já ensacada.",
    "Quando chegou o caminho de ferro, os donos compraram mós novas e uma turbina que trabalhava no inverno.",
    "Hoje os visitantes podem ver as duas, porque a família decidiu conservar as máquinas antigas.",
    "Um pequeno museu no celeiro conta a história das pessoas que trabalharam ali e das suas ferramentas.",
    "Na primavera, as crianças da escola da aldeia fazem pão com a farinha que elas mesmas moeram.",
    "Diz-se que a água nunca faltou, nem nos verões mais secos de que alguém se possa lembrar.",
    "Aos domingos, o moleiro abre os portões às dez horas e explica a todos como se fazem as engrenagens.",
)
GERMAN = (
    "Die Mühle steht dort, wo der Fluss einen Bogen macht, und ihr Rad dreht sich seit zweihundert Jahren.",
    "Die Bauern brachten im Herbst ihr Getreide hierher und fuhren mit dem fertigen Mehl wieder nach Hause.",
    "Als die Eisenbahn kam, kauften die Besitzer neue Steine und eine Turbine, die auch im Winter lief.",
    "Heute können Besucher beide sehen, weil die Familie die alten Maschinen erhalten wollte.",
    "Ein kleines Museum in der Scheune erzählt die Geschichte der Menschen, die hier gearbeitet haben.",
)


def html(
    paragraphs: tuple[str, ...], title: str = "The mill", head: str = "", language: str | None = "en"
) -> str:
    """A page with these paragraphs between a navigation and a footer."""
    attribute = f' lang="{language}"' if language else ""
    body = "".join(f"<p>{paragraph}</p>\n" for paragraph in paragraphs)
    return (
        f"<!doctype html><html{attribute}><head><title>{title}</title>{head}</head><body>"
        '<nav><ul><li><a href="/">Home</a></li><li><a href="/a">About us</a></li></ul></nav>'
        f"<main><article><h1>{title}</h1>\n{body}</article></main>"
        "<footer><p>Copyright 2024</p></footer></body></html>"
    )


PDOC = """<!doctype html><html lang="en"><head><title>sample API documentation</title></head><body>
<nav class="pdoc"><h2>API Documentation</h2><ul><li><a href="#load">load</a></li></ul></nav>
<main class="pdoc"><section class="module-info"><h1 class="modulename">sample</h1>
<div class="docstring"><p>Reads things that were written before, whatever wrote them and however long ago.</p>
<pre><code>&gt;&gt;&gt; sample.load("_a_file", *rest)  # &lt;not&gt; a heading
</code></pre></div></section>
<section id="load"><div class="attr function"><div class="decorator">@cached(_dispatch)</div>
<span class="def">def</span> <span class="name">load</span><span class="signature pdoc-code multiline">(<span
class="param">	<span class="n">file_name</span>,</span><span
class="param">	<span class="o">*</span>,</span><span
class="param">	<span class="n">skip_keys</span><span class="o">=</span><span
class="kc">False</span></span><span class="return-annotation">) -> <span
class="n">dict</span>:</span></span></div>
<a class="headerlink" href="#load"></a>
<div class="docstring"><p>Read <code>file_name</code> and give back what is in it, as a <em>dictionary</em> of
names_with_underscores.</p><h2 id="parameters">Parameters</h2>
<p>file_name : str
    The file to read, with its folder.
skip_keys : bool, optional
    Whether keys that are not text are skipped instead of raising.</p>
<ul><li>one thing</li><li>another thing</li></ul>
<table><tr><th>code</th><th>meaning</th></tr><tr><td>r</td><td>read only</td></tr></table></div></section>
<section id="empty"><div class="attr variable"><span class="name">empty</span> = 3</div></section>
</main></body></html>"""
