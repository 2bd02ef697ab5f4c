"""What came of adapting to a data set, for people: a table of scores, and a page around it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from seg_prior.metrics.scores import Spread, SummaryRow


def score_table(scores: Mapping[str, Sequence[SummaryRow]]) -> list[str]:
    """Dice by structure and model, line by line of Markdown.

    Args:
        scores: Name of a model -> its scores, of the same structures for each.
    """
    rows = [["Dice, mean ± sd (n)", *scores], ["---"] * (1 + len(scores))]
    for structure in zip(*scores.values(), strict=True):
        rows.append([structure[0].name, *(_told(row.dice) for row in structure)])
    return [f"| {' | '.join(row)} |" for row in rows]


def adapted_page(
    title: str,
    findings: Sequence[str],
    settings: str,
    scores: Mapping[str, Sequence[SummaryRow]],
    links: Mapping[str, str],
) -> str:
    """A page in Markdown: what was found, what was chosen, how training went, how good it is.

    Args:
        title: Of the page.
        findings: Of `check`, one line each.
        settings: Of `train-prior`, as YAML.
        scores: As of `score_table`.
        links: What to look at -> where it lies, as seen from the page.
    """
    found = "\n".join(findings)
    pages = "\n".join(f"- [{name}]({place})" for name, place in links.items())
    sections = [
        f"# {title}",
        f"## The data\n\n```\n{found}\n```",
        f"## The settings of train-prior\n\n```yaml\n{settings}```",
        "## Results\n\n" + "\n".join(score_table(scores)),
        "Label maps of some subjects taught anatomy, scans of others intensities; the scored ones "
        "are others again (`split.json`).",
        pages,
    ]
    return "\n\n".join(sections) + "\n"


def _told(dice: Spread) -> str:
    if not dice.n:
        return "-"
    return f"{dice.mean:.3f} ± {dice.sd:.3f} ({dice.n})" if dice.n > 1 else f"{dice.mean:.3f} (1)"
