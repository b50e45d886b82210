"""The data sections of a recipe: where text comes from, how it is cleaned, the tokenizer, tokenization.

A `Source` is written once in the recipe; the stage that copies bytes sees only its `acquisition()`, the stage that cleans only its
`curation()`, so that a changed filter copies nothing again.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from contracts.config import Config, Gate, Later, Placement, holds_credentials, nearest
from tasks.data.filter_config import FilterConfig, Share
from tasks.data.skills import SKILLS

__all__ = [
    "Acquisition",
    "CurateConfig",
    "Curation",
    "DataConfig",
    "FilterConfig",
    "Holdout",
    "Source",
    "SourceConfig",
    "TokenizeConfig",
    "TokenizerConfig",
]

SourceName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.+-]{0,63}$")]
SPECIAL_TOKENS = ["<|endoftext|>", "<|pad|>", "<|im_start|>", "<|im_end|>"]
PLAIN_TOKENS = ["<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>"]


def _refuse_credentials(path: str | None, what: str) -> None:
    if path is not None and holds_credentials(path):
        raise ValueError(f"{what} holds credentials; give them by AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")


class Acquisition(Config):
    """Where one source's documents come from."""

    name: SourceName
    """Short name of the source; mixtures, tables and files use it."""
    kind: Literal["embedded", "files", "huggingface", "generated", "published"]
    """embedded: text that the pinned packages bring; files: a folder, file, pattern or URL; huggingface: a dataset; generated: questions
    and worked answers of generated skills; published: known by its size only (can be planned with, not fetched)."""
    collection: Literal["prose", "code", "math"] | None = None
    """embedded: which collection of text."""
    packages: list[str] | None = None
    """embedded: only these of the collection's packages, in this order (none: all that are listed)."""
    skills: Placement[list[str] | None] = None
    """generated: which skills, in equal parts, one named twice in two (what they and the seed make is identified by the snapshot)."""
    seed: Placement[int | None] = None
    """generated: seed of the items drawn (none: 0)."""
    path: Placement[str | None] = None
    """files: path, folder, pattern or any fsspec URL (.txt .md .jsonl .parquet; .gz and .zst too); huggingface: name or local folder."""
    text_column: str = "text"
    """Column or key that holds the text."""
    subset: str | None = None
    """huggingface: configuration name."""
    split: str = "train"
    """huggingface: split."""
    revision: str | None = None
    """huggingface: commit or tag; pin it, or the data may change between runs."""
    licence: str = "unknown"
    """Licence of the documents (an embedded document carries its package's own)."""
    max_bytes: int | None = Field(None, ge=1)
    """Stop after this many bytes of text (UTF-8); of generated text that much is made."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        for needed in {"embedded": ["collection"], "files": ["path"], "huggingface": ["path"], "generated": ["skills", "max_bytes"]}.get(
            self.kind, []
        ):
            if not getattr(self, needed):
                raise ValueError(f"source '{self.name}' of kind '{self.kind}' needs '{needed}'")
        for skill in self.skills or []:
            if skill not in SKILLS:
                raise ValueError(f"source '{self.name}': no generated skill '{skill}'{nearest(skill, list(SKILLS))}")
        _refuse_credentials(self.path, f"the path of source '{self.name}'")
        foreign = {"collection": "embedded", "packages": "embedded", "subset": "huggingface", "revision": "huggingface"}
        for field, kind in (foreign | {"skills": "generated", "seed": "generated"}).items():
            if getattr(self, field) is not None and self.kind != kind:
                raise ValueError(f"source '{self.name}': '{field}' belongs to kind '{kind}', not '{self.kind}'")
        return self


class Holdout(Config):
    """What is kept away from training, chosen before training: whole packages, web domains or files, so that no document is half known.

    A source with too few of them (one package, under five domains or files) is held out by single documents.
    """

    share: Share = 0.04
    """Share of the text to hold out, used where no groups are named (0: nothing)."""
    packages: list[str] = Field([])
    """Hold out exactly these packages, domains or files."""
    max_bytes: int = Field(4_000_000, ge=1)
    """Hold out no more than this (UTF-8 bytes); what a held-out group has beyond it is dropped, not trained on."""
    item_characters: int = Field(2000, ge=200)
    """Held-out documents are cut into items of about this length, so that one shared sentence does not cost a whole document."""


class Curation(Config):
    """How one source's documents are cleaned and split."""

    name: SourceName
    """The source's name."""
    language: str | None = "en"
    """Keep documents in this language (ISO 639-1; null: any, as code should have)."""
    reflow: bool = False
    """Turn docstring and reStructuredText pages into flowing Markdown paragraphs."""
    split_characters: int = Field(50_000, ge=500)
    """Longer texts are split at headings, blank lines or line ends into documents of about this many characters."""
    filters: FilterConfig = FilterConfig()
    """Quality rules: `prose`, `code`, `none`, or a preset with changed thresholds."""
    keep: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    """Share of documents kept, drawn by a hash of the seed and the document."""
    heldout: Holdout = Holdout()
    """What is held out of training for evaluation."""


class Source(Acquisition, Curation):
    """One source of text: where it comes from and how it is cleaned."""

    published_tokens: Gate[int | None] = None
    """Published size in tokens, so that a dry run can tell epochs before anything is fetched (none: unknown)."""
    published_bytes: Gate[int | None] = None
    """Published size in bytes of text (none: unknown)."""

    @model_validator(mode="before")
    @classmethod
    def _as_made(cls, data: Any) -> Any:
        """Generated text is taken as it is, where nothing else is said: rules for prose would throw it away as repetition."""
        made = isinstance(data, dict) and data.get("kind") == "generated"
        return {"language": None, "filters": "none", **data} if made else data

    @model_validator(mode="after")
    def _items_are_held_out(self) -> Self:
        if self.kind == "generated" and self.heldout.packages:
            raise ValueError(f"source '{self.name}': what is held out of generated text are items, chosen by their hash; name no packages")
        return self

    def acquisition(self) -> Acquisition:
        """The part that decides which bytes are copied."""
        return Acquisition(**{field: getattr(self, field) for field in Acquisition.model_fields})

    def curation(self) -> Curation:
        """The part that decides how they are cleaned."""
        return Curation(**{field: getattr(self, field) for field in Curation.model_fields})


class SourceConfig(Config):
    """Configuration of the stage `source`."""

    sources: list[Acquisition] = Field(min_length=1)
    """What to copy."""


class CurateConfig(Config):
    """Configuration of the stage `curate`."""

    sources: list[Curation] = Field(min_length=1)
    """How each source is cleaned."""
    contamination_ngram: int = Field(13, ge=0)
    """A held-out item that shares an n-gram of this many words with training text is dropped (0: no check)."""
    seed: int = 0
    """Seed of the draws (share kept, held-out groups)."""
    heldout_skills: Later[list[str]] = Field([])
    """Generated skills that the recipe has text of: a document that answers a held-out item of one of them is removed."""
    samples: int = Field(2, ge=0)
    """Examples of what each filter removed and of what was kept, for the report."""


class TokenizeConfig(Config):
    """Configuration of the stage `tokenize`."""

    special_tokens_in_text: Literal["token", "text"] = "token"
    """A control token written out in a document: a token, as transformers and Megatron read it, or the ordinary text it is."""
    threads: Placement[int] = Field(1, ge=1)
    """Threads that encode side by side; the files do not depend on it."""


class DataConfig(Config):
    """Data section of a recipe."""

    sources: list[Source] = Field(min_length=1)
    """Where the text comes from."""
    contamination_ngram: int = Field(13, ge=0)
    """A held-out item that shares an n-gram of this many words with training text is dropped (0: no check; the recipe must then waive
    the gate `contamination`)."""
    seed: int = 0
    """Seed of the draws (share kept, held-out groups)."""

    tokenize: TokenizeConfig = TokenizeConfig()
    """How documents become tokens."""

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [source.name for source in self.sources]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two sources are called {', '.join(twice)}; names must differ")
        return self

    def for_source(self) -> SourceConfig:
        """What the stage `source` uses of this section."""
        return SourceConfig(sources=[source.acquisition() for source in self.sources])

    def for_curate(self) -> CurateConfig:
        """What the stage `curate` uses of this section."""
        curations = [source.curation() for source in self.sources]
        skills = sorted({skill for source in self.sources for skill in source.skills or []})
        return CurateConfig(sources=curations, contamination_ngram=self.contamination_ngram, seed=self.seed, heldout_skills=skills)


class TokenizerConfig(Config):
    """Configuration of the stage `tokenizer`: train one, or take an existing one."""

    path: Placement[str | None] = None
    """Take this existing tokenizer (folder or Hugging Face name) instead of training one."""
    revision: str | None = None
    """Commit or tag of a tokenizer taken from Hugging Face."""
    vocab_size: int = Field(2048, ge=384, multiple_of=128)
    """Size of the vocabulary, every reserved token included; a multiple of 128."""
    digits: Literal["single", "groups_of_three"] = "single"
    """Digits as single tokens (helps arithmetic) or in groups of up to three."""
    train_bytes: int = Field(20_000_000, ge=1000)
    """Bytes of curated text to train on."""
    mixture: dict[str, float] = Field({})
    """Share of the training text per source; mirror the final mixture (empty: as the sources come)."""
    min_frequency: int = Field(2, ge=1)
    """A pair seen less often is not merged."""
    special_tokens: list[str] = SPECIAL_TOKENS
    """Control tokens, hidden when text is decoded; the first ends a document, the second pads, the last ends a turn."""
    plain_tokens: list[str] = PLAIN_TOKENS
    """Single tokens that stay visible when text is decoded (thinking and tool calls are read by rewards)."""
    min_bytes_per_token: Gate[float] = Field(1.5, ge=0.0)
    """Gate: fewer bytes per token on any source's held-out text means the tokenizer does not fit the data."""
    max_fertility: Gate[float] = Field(6.0, ge=1.0)
    """Gate: more tokens per whitespace-separated word on any source's held-out text means the same."""

    @model_validator(mode="after")
    def _tokens_fit(self) -> Self:
        _refuse_credentials(self.path, "the path of the tokenizer")
        reserved = [*self.special_tokens, *self.plain_tokens]
        if len(set(reserved)) != len(reserved) or not all(reserved):
            raise ValueError("reserved tokens must differ from one another and not be empty")
        if self.path is None and len(self.special_tokens) < 2:
            raise ValueError("name at least the token that ends a document and the one that pads")
        if self.path is None and self.vocab_size < 256 + len(reserved):
            raise ValueError(f"vocab_size {self.vocab_size} cannot hold 256 bytes and {len(reserved)} reserved tokens")
        return self
