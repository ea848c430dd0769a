"""Writes three corpora of awkward lines and what sacreBLEU says about them.

    python3 -m venv VENV && VENV/bin/pip install 'sacrebleu>=2,<3'
    VENV/bin/python make_bleu_corpora.py

Writes bleu-NAME.json beside itself: translations, references, the words of every line under
tokenisation 13a, and the score. JSON, because some lines hold control characters.
"""

import json
import pathlib
import random

import sacrebleu
from sacrebleu.metrics import BLEU
from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

WORDS = (
    "das Paket enthält die Bibliothek für größere Übersetzungen und Straßen über Ärger "
    "e-mail GNU/Linux C++ foo_bar user@example.org http://example.org/~a?b=c&d=e don't l'eau "
    "TCP/IP-Stack (optional) [veraltet] {leer} naïve Zürich 'einfach' „Anführung“ »so« … – —"
).split()
NUMBERS = ["1", "3.14", "1,000,000", "12-16", "-5", "50%", "$9.99", "2.", ",5", "1.2.3-4", "٣", "½"]
MARKS = [".", ",", "...", "?!", ";", ":", "!", ".,", "--", "-", "'", "\"", "/", "\\", "^", "`", "|"]
ENTITIES = ["&quot;", "&amp;", "&lt;", "&gt;", "&amp;lt;", "&amp;amp;quot;", "&nbsp;", "&", "&;",
            "<skipped>", "<skip<skipped>ped>", "<b>"]
# Composed and decomposed accents, and everything Python calls white space.
ODD = ["e\u0301", "\u00e9", "\u00df", "\u1e9e", "\ufb01", "\u4e2d\u6587", "\U0001f600", "\u200b",
       "a\u00a0b", "a\u2003b", "a\u3000b", "a\tb", "a\x1cb", "a\x1fb", "a\x85b", "a\u2028b", "a\rb",
       "a-\nb", "a\nb", "\u0661.\u0662", "x\u0301.", "a\u200db", "\ufeff"]


def line(draw: random.Random, pool: list[str], shortest: int, longest: int) -> str:
    glue = ["", " ", " ", " ", "  "]
    parts = [draw.choice(pool) for _ in range(draw.randint(shortest, longest))]
    return "".join(part + draw.choice(glue) for part in parts)


def damaged(draw: random.Random, text: str, pool: list[str], rate: float) -> str:
    words = text.split(" ")
    kept = []
    for word in words:
        chance = draw.random()
        if chance < rate / 3:
            continue
        kept.append(draw.choice(pool) if chance < rate else word)
    if len(kept) > 2 and draw.random() < rate:
        place = draw.randrange(len(kept) - 1)
        kept[place], kept[place + 1] = kept[place + 1], kept[place]
    return " ".join(kept)


def messy() -> tuple[list[str], list[str]]:
    draw = random.Random(1)
    pool = WORDS * 3 + NUMBERS * 2 + MARKS * 2 + ENTITIES + ODD
    references = [line(draw, pool, 0, 30) for _ in range(160)]
    return [damaged(draw, text, pool, 0.3) for text in references], references


def short() -> tuple[list[str], list[str]]:
    """One to three words, a few empty lines on either side: few matches beyond bigrams."""
    draw = random.Random(2)
    pool = ["ja", "nein", "3.5", "Tür", "auf", ".", "?"]
    references = [" ".join(draw.choice(pool) for _ in range(draw.randint(0, 3))) for _ in range(60)]
    translations = [damaged(draw, text, pool, 0.7) for text in references]
    translations[5], references[7], references[8], translations[8] = "", "", "", ""
    translations[9] = references[9] = "eins zwei drei vier"
    return translations, references


def identical() -> tuple[list[str], list[str]]:
    draw = random.Random(3)
    references = [line(draw, WORDS + NUMBERS + MARKS, 1, 25) for _ in range(80)]
    return list(references), references


def smoothed() -> tuple[list[str], list[str]]:
    """Matching words in another order: no bigram to 4-gram matches."""
    draw = random.Random(4)
    references = [" ".join(draw.sample(WORDS[:10], 6)) for _ in range(4)]
    return [" ".join(reversed(text.split())) + " ." for text in references], references


def without_fourgrams() -> tuple[list[str], list[str]]:
    return ["ein Haus", "zwei"], ["ein Haus", "zwei Häuser"]


def without_matches() -> tuple[list[str], list[str]]:
    return ["a b c d e", ""], ["v w x y z", "u"]


def empty() -> tuple[list[str], list[str]]:
    return ["", " \u00a0"], ["ein Haus", "zwei"]


def main() -> None:
    folder = pathlib.Path(__file__).parent
    tokenize = Tokenizer13a()
    for make in (messy, short, identical, smoothed, without_fourgrams, without_matches, empty):
        translations, references = make()
        metric = BLEU()
        result = metric.corpus_score(translations, [references])
        record = {
            "made_by": f"make_bleu_corpora.py with sacreBLEU {sacrebleu.__version__}",
            "signature": str(metric.get_signature()),
            "verbose_score": str(result),
            "score": result.score,
            "match_counts": [int(count) for count in result.counts],
            "total_counts": [int(count) for count in result.totals],
            "precisions": result.precisions,
            "brevity_penalty": result.bp,
            "system_length": result.sys_len,
            "reference_length": result.ref_len,
            "segments": [
                {
                    "translation": translation,
                    "reference": reference,
                    "translation_words": tokenize(translation.rstrip()),
                    "reference_words": tokenize(reference.rstrip()),
                }
                for translation, reference in zip(translations, references)
            ],
        }
        name = make.__name__.replace("_", "-")
        text = json.dumps(record, indent=1, ensure_ascii=True)
        (folder / f"bleu-{name}.json").write_text(text + "\n")
        print(name, result)


if __name__ == "__main__":
    main()
