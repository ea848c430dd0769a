"""Holds `lockstep evaluate --json` against sacreBLEU: compare_bleu.py REPORT OUTPUT REFERENCE."""

import json
import pathlib
import sys

from sacrebleu.metrics import BLEU

report, hypotheses, references = (pathlib.Path(path).read_text() for path in sys.argv[1:])
ours = json.loads(report)
metric = BLEU()
score = metric.corpus_score(hypotheses.splitlines(), [references.splitlines()])
assert abs(ours["bleu"] - score.score) < 0.01, (ours["bleu"], score.score)
assert all(abs(a - b) < 0.01 for a, b in zip(ours["bleu_precisions"], score.precisions))
assert abs(ours["brevity_penalty"] - score.bp) < 1e-4
assert (ours["system_length"], ours["reference_length"]) == (score.sys_len, score.ref_len)
# All of the signature but the version, which names a program.
theirs = str(metric.get_signature()).rsplit("|version:", 1)[0]
assert ours["bleu_signature"].startswith(theirs), (ours["bleu_signature"], theirs)
# A score at either end would prove little.
assert 5 < score.score < 95, score.score
print(f"BLEU {ours['bleu']:.4f}, sacreBLEU {score.score:.4f}")
