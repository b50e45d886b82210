"""Docstring, reStructuredText and Markdown pages to flowing Markdown: wrapped paragraphs become one line, parameter lists become
bullets, doctests and code become fenced blocks, paragraphs that a page repeats are left out."""

from __future__ import annotations

import re

_ROLE = re.compile(r":(?:py:)?[a-z]+:`~?\.?([^`<]+?)(?:\s*<[^`>]*>)?`")
_LINK = re.compile(r"`([^`<]+?)\s*<(?:https?:[^`>]*)>`_+")
_LITERAL = re.compile(r"``([^`]+)``")
_UNDERLINE = re.compile(r"^([=\-~^\"'#*+.])\1{2,}\s*$")
_DIRECTIVE = re.compile(r"^\.\. (\w[\w-]*)::\s*(.*)$")
_FIELD = re.compile(r"^:(param|type|returns?|rtype|raises|arg|keyword)\s*([^:]*):\s*(.*)$")
_NUMPY_PARAMETER = re.compile(r"^(\*{0,2}[A-Za-z_][\w.]*(?:,\s*\*{0,2}[A-Za-z_]\w*)*)\s*:\s*(.+)$")
_GOOGLE_PARAMETER = re.compile(r"^(\*{0,2}`?[A-Za-z_][\w.]*`?)\s*(\([^)]*\))?:\s+(.+)$")
_BULLET = re.compile(r"^[-*•]\s|^\d+[.)]\s")
_SECTIONS = {"Parameters", "Returns", "Raises", "Notes", "Examples", "Yields", "See Also", "References", "Attributes"}
_ADMONITIONS = {"note", "warning", "tip", "important", "seealso", "attention", "caution"}
_CODE_DIRECTIVES = {"code-block", "code", "ipython", "testcode"}


def reflow(page: str) -> str:
    """The page as Markdown with one line per paragraph."""
    return _Page(page).render()


def _inline(text: str) -> str:
    return _LITERAL.sub(r"`\1`", _LINK.sub(r"\1", _ROLE.sub(r"\1", text)))


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _joined(lines: list[str]) -> str:
    return _inline(" ".join(line.strip() for line in lines if line.strip()))


class _Page:
    """Reads the lines once, block by block; each `_take_*` consumes its block or says that it is another kind."""

    def __init__(self, page: str) -> None:
        self.lines = page.split("\n")
        self.at = 0
        self.blocks: list[str] = []
        self._paragraph: list[str] = []
        self._seen: set[str] = set()

    def render(self) -> str:
        """Consume everything; list items are joined by single newlines, other blocks by blank lines."""
        takers = (self._take_blank, self._take_code, self._take_heading, self._take_directive, self._take_raw, self._take_item)
        while self.at < len(self.lines):
            if not any(take(self.lines[self.at], self.lines[self.at].strip()) for take in takers):
                self._paragraph.append(self.lines[self.at])
                self.at += 1
        self._end_paragraph()
        pieces: list[str] = []
        for index, block in enumerate(self.blocks):
            following = self.blocks[index + 1] if index + 1 < len(self.blocks) else ""
            pieces += [block, "\n" if block.startswith("- ") and following.startswith("- ") else "\n\n"]
        return re.sub(r"\n{3,}", "\n\n", "".join(pieces)).strip()

    def _new(self, text: str) -> bool:
        """False for a long text that this page had before."""
        if len(text) <= 40:
            return True
        key = re.sub(r"\W+", " ", text.lower())
        known = key in self._seen
        self._seen.add(key)
        return not known

    def _end_paragraph(self) -> None:
        text = _joined(self._paragraph)
        self._paragraph = []
        if text and self._new(text):
            self.blocks.append(text)

    def _deeper_than(self, indent: int, *, blanks: bool, stop: tuple[str, ...] = ()) -> list[str]:
        """Consume the following lines that are indented deeper (with `blanks`, blank lines belong to them)."""
        taken: list[str] = []
        while self.at < len(self.lines):
            line = self.lines[self.at]
            inside = _indent(line) > indent and not line.strip().startswith(stop) if line.strip() else blanks
            if not inside:
                break
            taken.append(line)
            self.at += 1
        return taken

    def _take_blank(self, line: str, text: str) -> bool:
        if text:
            return False
        self._end_paragraph()
        self.at += 1
        return True

    def _take_code(self, line: str, text: str) -> bool:
        if not text.startswith((">>>", "```")):
            return False
        self._end_paragraph()
        block = self._fenced() if text.startswith("```") else self._doctest(_indent(line))
        if block:
            self.blocks.append("```\n" + "\n".join(block) + "\n```")
        return True

    def _fenced(self) -> list[str]:
        self.at += 1
        start = self.at
        while self.at < len(self.lines) and not self.lines[self.at].strip().startswith("```"):
            self.at += 1
        self.at += 1
        return [line.rstrip() for line in self.lines[start : self.at - 1]]

    def _doctest(self, indent: int) -> list[str]:
        block: list[str] = []
        while self.at < len(self.lines) and self.lines[self.at].strip():
            line = self.lines[self.at]
            block.append(line[indent:].rstrip() if _indent(line) >= indent else line.strip())
            self.at += 1
        return block

    def _take_heading(self, line: str, text: str) -> bool:
        following = self.lines[self.at + 1].strip() if self.at + 1 < len(self.lines) else ""
        if self._paragraph or len(text) >= 80 or not _UNDERLINE.match(following):
            return False
        title = text.strip("# ")
        self.blocks.append(("### " if title in _SECTIONS else "## ") + title)
        self.at += 2
        return True

    def _take_directive(self, line: str, text: str) -> bool:
        match = _DIRECTIVE.match(text)
        if not match:
            return False
        self._end_paragraph()
        name, argument = match.groups()
        self.at += 1
        body = ([argument] if argument else []) + self._deeper_than(_indent(line), blanks=True)
        if name in _ADMONITIONS:
            self.blocks.append(f"{name.capitalize()}: {_joined(body)}")
        elif name == "math":
            self.blocks.append("$$\n" + "\n".join(part for part in body if not part.strip().startswith(":")).strip() + "\n$$")
        elif name in _CODE_DIRECTIVES:
            code = "\n".join(part for part in body if not part.strip().startswith(":")).strip("\n")
            self.blocks.append(f"```\n{code}\n```")
        return True

    def _take_raw(self, line: str, text: str) -> bool:
        if not text.startswith(("#", "|", "<!--")):
            return False
        self._end_paragraph()
        self.blocks.append(text)
        self.at += 1
        return True

    def _take_item(self, line: str, text: str) -> bool:
        head = self._item_head(line, text)
        if head is None:
            return False
        self._end_paragraph()
        self.at += 1
        body = self._deeper_than(_indent(line), blanks=False, stop=(">>>", "```", ".."))
        item = "- " + _joined([head, *body])
        if self._new(item):
            self.blocks.append(item)
        return True

    def _item_head(self, line: str, text: str) -> str | None:
        """The first line of a list item (bullet, field, NumPy or Google parameter), or None."""
        if field := _FIELD.match(text):
            kind, name, rest = field.groups()
            return (f"{name}: " if name else f"{kind.capitalize()}: ") + rest
        if _BULLET.match(text):
            return re.sub(r"^[-*•]\s+", "", text)
        indent = _indent(line)
        if indent > 0 and _GOOGLE_PARAMETER.match(text):
            return text
        following = self.lines[self.at + 1] if self.at + 1 < len(self.lines) else ""
        parameter = _NUMPY_PARAMETER.match(text) if indent == 0 and len(text) < 120 else None
        return f"`{parameter.group(1)}` ({parameter.group(2)}):" if parameter and following.startswith("    ") else None
