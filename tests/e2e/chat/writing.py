"""Answers as a model might write them, from a seed: every construct of markdown, mixed, nested, some left open."""

from __future__ import annotations

import random
import re
from typing import Any

TEXT = """
the answer depends on how many files were searched and what it costs at the end of a month in Zürich 東京 שלום مرحبا 🐉
👩\u200d👩\u200d👧 naïve e\u0301 don't 3.14 1,000 $5 $10 2*3 a_b_c x<y &amp; &lt; &copy; AT&T C++
:-) \\* ~5 [sic] <b> </i> 100%
"""
WORDS = TEXT.split()
MARKER = "【%d:%d†source】"


class Writer:
    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def one(self, *choices: Any) -> Any:
        return self.random.choice(choices)

    def words(self, most: int = 9) -> str:
        return " ".join(self.random.choice(WORDS) for _ in range(self.random.randint(1, most)))

    def span(self) -> str:
        words = self.words(4)
        return str(
            self.one(
                lambda: f"**{words}**",
                lambda: f"*{words}*",
                lambda: f"__{words}__ _{self.words(2)}_",
                lambda: f"***{words}***",
                lambda: f"~~{words}~~",
                lambda: f"`{words}`",
                lambda: f"`` a`b {words} ``",
                lambda: f"[{words}](https://example.org/{self.random.randint(0, 99)})",
                lambda: f"[**{words}** `x`](<https://evil.example/a b> 'title')",
                lambda: f"![{words}](https://img.example/p.png)",
                lambda: "https://example.org/a_b(c)?d=e&f=g.",
                lambda: "<https://example.org/> www.example.net someone@example.org",
                lambda: f"\\({self.formula()}\\)",
                lambda: f"${self.formula()}$",
                lambda: f"$${self.formula()}$$",
                lambda: f"\\[{self.formula()}\\]",
                lambda: MARKER % (self.random.randint(0, 3), self.random.randint(0, 9)),
                lambda: f"**{words} {MARKER % (0, 1)}**",
                lambda: f"[{words}](sandbox:/mnt/data/{self.random.randint(0, 9)}.csv)",
                lambda: f"sandbox:/mnt/data/{self.random.randint(0, 9)}.csv ![{words}](sandbox:/mnt/data/1.png)",
                lambda: f"**{words}",
                lambda: f"`{words}",
                lambda: f"[{words}](https://example.org/",
                lambda: f"[{words}][1]",
                lambda: "<script>alert(1)</script> <img src=x onerror=y>",
                lambda: "line  \nbreak\\\nand another",
            )()
        )

    def formula(self) -> str:
        return str(
            self.one("x^2", "E = mc^2", r"\frac{a}{b}", "n", r"\sum_{i=1}^n i \le \text{all of it}", r"\alpha_1")
        )

    def line(self) -> str:
        return " ".join(self.one(self.words, self.words, self.span)() for _ in range(self.random.randint(1, 5)))

    def paragraph(self) -> str:
        return "\n".join(self.line() for _ in range(self.random.randint(1, 3)))

    def code(self) -> str:
        fence = self.one("```", "````", "~~~")
        lines = [
            self.one(
                "def f(x):", "  return {'a': 1}  # no", "", "- no list", "**no**", "``", "| a | b |", "$$", "    x"
            )
            for _ in range(self.random.randint(0, 7))
        ]
        closing = self.one(fence, fence, fence, f"{fence}`" if fence[0] == "`" else fence)
        return "\n".join([fence + self.one("", "py", "python", "c++", "unknown stuff"), *lines, closing])

    def items(self, depth: int = 0) -> str:
        sign = self.one("-", "*", "+", "1.", "7)")
        written = []
        for number in range(self.random.randint(1, 5)):
            mark = f"{number + int(sign[:-1])}{sign[-1]}" if sign[0].isdigit() else sign
            text = self.one("", "", "[x] ", "[ ] ") + self.line()
            pad = " " * (len(mark) + 1)
            if self.random.random() < 0.3 and depth < 2:
                inner = self.one(self.items, self.items, lambda _: self.code(), lambda _: self.paragraph())(depth + 1)
                between = self.one("\n", "\n\n") if inner[0] in "-*+17" else "\n\n"
                text += between + "\n".join(pad + line if line else line for line in inner.split("\n"))
            written.append(f"{mark} {text}")
        return str(self.one("\n", "\n", "\n\n")).join(written)

    def row(self, width: int) -> str:
        return "| " + " | ".join(self.one(self.words, self.span)().replace("\n", " ") for _ in range(width)) + " |"

    def table(self) -> str:
        width = self.random.randint(1, 4)
        rule = "|" + "|".join(self.one("---", ":--", ":-:", "--:") for _ in range(width)) + "|"
        return "\n".join([self.row(width), rule, *(self.row(width) for _ in range(self.random.randint(0, 6)))])

    def quote(self) -> str:
        inner = self.one(self.paragraph, self.items, self.code)()
        return "\n".join(f"> {line}" for line in inner.split("\n"))

    def block(self) -> str:
        return str(
            self.one(
                lambda: f"{'#' * self.random.randint(1, 6)} {self.line()}",
                lambda: f"{self.words()}\n{self.one('===', '---')}",
                self.paragraph,
                self.paragraph,
                self.code,
                self.items,
                self.items,
                self.table,
                self.quote,
                lambda: self.one("---", "* * *", "___"),
                lambda: f"$$\n{self.formula()}\n{self.formula()}\n$$",
                lambda: f"\\[\n{self.formula()}\n\\]",
                lambda: f"$$\n- {self.words()}\n# {self.words()}",
                lambda: f"$${self.formula()}$$ {self.words()}\n- {self.words()}",
                lambda: f"<div onclick='x()'>\n{self.line()}\n\n</div>",
                lambda: f"[1]: https://example.org/{self.random.randint(0, 9)} 'words'",
                lambda: f"    indented {self.words()}\n\n    more",
                lambda: f"```\nleft open {self.words()}",
                lambda: " ".join(self.one(self.words, self.span)().replace("\n", " ") for _ in range(40)),
                lambda: " ".join(f"{self.words()} ${self.formula()}$, $5 {self.words()}" for _ in range(12)),
            )()
        )

    def document(self) -> str:
        parts = [self.block() for _ in range(self.random.randint(1, 9))]
        text = "".join(part + self.one("\n\n", "\n\n", "\n", "\n\n\n") for part in parts)
        if self.random.random() < 0.15:
            text = text.replace("\n", "\r\n")
        if self.random.random() < 0.1:
            text = text.rstrip() + self.one(
                "\r", "\u202e\u2066", "\x00\x1b[31m", "\\", "**", "`", "| a", "$$", "[", "&"
            )
        return text

    def annotations(self, text: str) -> list[dict[str, Any]]:
        """Most markers cite something; offsets count code points, as the API's do."""
        return [
            {
                "type": kind,
                "text": found[0],
                "start_index": found.start(),
                "end_index": found.end(),
                kind: {"file_id": f"file-{found[0][1]}"},
            }
            for found in re.finditer(r"【[^】]*】|sandbox:[\w/]+\.\w+", text)
            if self.random.random() < 0.8
            for kind in ["file_citation" if found[0][0] == "【" else "file_path"]
        ]
