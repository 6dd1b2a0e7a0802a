"""What the page says, in both languages. A test keeps their keys the same."""

from collections.abc import Mapping

TITLES: Mapping[str, Mapping[str, str]] = {
    "en": {
        "page": "Every family in the history of language models",
        "intro": "Each network learned from the same tokens with the same number of floating point "
        "operations ({flops}); the n-gram model counted them. What follows was measured on this run's "
        "held-out text. At other sizes the order may be another.",
        "table": "the models",
        "columns": "model|weights|seconds of training|bits per byte|bits of a hidden token",
        "loss-against-compute.png": "Loss against compute",
        "loss-against-context.png": "What more context brings",
        "hidden-token.png": "One hidden token",
        "gradients.png": "How far back learning reaches",
        "cost-of-length.png": "What length costs",
        "rows-at-a-time.png": "One after another, or all at once",
    },
    "pt": {
        "page": "Todas as famílias na história dos modelos de linguagem",
        "intro": "Cada rede aprendeu com os mesmos tokens e o mesmo número de operações de ponto flutuante "
        "({flops}); o modelo de n-gramas contou-os. O que segue foi medido no texto reservado desta "
        "execução. Em outros tamanhos a ordem pode ser outra.",
        "table": "os modelos",
        "columns": "modelo|pesos|segundos de treino|bits por byte|bits de um token escondido",
        "loss-against-compute.png": "Perda em função da computação",
        "loss-against-context.png": "O que traz mais contexto",
        "hidden-token.png": "Um token escondido",
        "gradients.png": "Até onde o aprendizado volta no tempo",
        "cost-of-length.png": "O que custa o comprimento",
        "rows-at-a-time.png": "Um depois do outro, ou todos de uma vez",
    },
}

WORDS: Mapping[str, Mapping[str, str]] = {
    "en": {
        "ranked": "From best to worst, in held-out bits per byte: {order}.",
        "ngram_beats": "Counting alone does better here than {names}: at so little compute the longest "
        "phrases that it has seen are worth more than what these networks could learn. Networks go on "
        "learning with compute; counting needs more text.",
        "ngram_last": "Every network does better than counting, even at this compute.",
        "newer_wins": "{newer} needs {gain} bits per byte less than {older}.",
        "newer_loses": "{newer} needs {gain} bits per byte more than {older} here: what it brings pays at "
        "more compute or longer rows than these.",
        "context": "{name}: {one} nats with one token of context, {all} at best; beyond {tokens} of "
        "{longest} tokens more context brings less than 0.02.",
        "both_sides_win": "With both sides of it in sight the best ({best}) needs {bits} bits for a hidden "
        "token; the best of those that only see what stands before ({other}) {more}.",
        "both_sides_lose": "{best}, which sees both sides of a hidden token, needs {bits} bits for it, and "
        "{other}, which only sees what stands before, {more}: of each row it learns from a part of the "
        "tokens alone, so at the same compute it has been asked for far fewer.",
        "gradient": "{name}: over {distance} tokens the gradient falls to {untrained} of what it is at the "
        "last token before training, and to {trained} after it.",
        "cost": "{name}: time grows with the length of a row to the power {time}, memory to the power "
        "{memory}.",
        "speed": "{name}: {one} tokens a second with one row, {many} with {rows} ({factor} times as many).",
    },
    "pt": {
        "ranked": "Do melhor ao pior, em bits por byte no texto reservado: {order}.",
        "ngram_beats": "Só contar sai melhor aqui do que {names}: com tão pouca computação, as frases mais "
        "longas que ele já viu valem mais do que estas redes puderam aprender. As redes seguem aprendendo "
        "com mais computação; contar precisa de mais texto.",
        "ngram_last": "Todas as redes saem melhor do que contar, mesmo com esta computação.",
        "newer_wins": "{newer} precisa de {gain} bits por byte a menos do que {older}.",
        "newer_loses": "{newer} precisa aqui de {gain} bits por byte a mais do que {older}: o que ele traz "
        "compensa com mais computação ou linhas mais longas do que estas.",
        "context": "{name}: {one} nats com um token de contexto, {all} no melhor caso; além de {tokens} dos "
        "{longest} tokens, mais contexto traz menos de 0,02.",
        "both_sides_win": "Vendo os dois lados, o melhor ({best}) precisa de {bits} bits para um token "
        "escondido; o melhor dos que só veem o que vem antes ({other}), de {more}.",
        "both_sides_lose": "{best}, que vê os dois lados de um token escondido, precisa de {bits} bits para "
        "ele, e {other}, que só vê o que vem antes, de {more}: de cada linha ele aprende só com uma parte "
        "dos tokens, e com a mesma computação foi perguntado por muito menos deles.",
        "gradient": "{name}: ao longo de {distance} tokens o gradiente cai para {untrained} do que é no "
        "último token antes do treino, e para {trained} depois dele.",
        "cost": "{name}: o tempo cresce com o comprimento da linha elevado a {time}, a memória elevado a "
        "{memory}.",
        "speed": "{name}: {one} tokens por segundo com uma linha, {many} com {rows} ({factor} vezes mais).",
    },
}
