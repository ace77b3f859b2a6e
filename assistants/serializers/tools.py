"""Tools, the choice among them, and what they work on (contract 2.3–2.5, 5.2), in the form the wire echoes."""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict

from assistants.serializers.fields import (
    AnyObject,
    Array,
    Boolean,
    ClosedSerializer,
    Enum,
    Id,
    Integer,
    Metadata,
    Number,
    String,
    Variant,
)
from assistants.serializers.refusals import at, out_of_range, refusal

TOOLS_MAX = 128
NAME_PATTERN = "[a-zA-Z0-9_-]+"
NAME_MAX = 64
RESERVED_NAMES = ("code_interpreter", "file_search")
"""What the model calls the server's own tools."""
CODE_FILES_MAX = 20
STORES_MAX = 1
STORE_FILES_MAX = 500
AUTO_CHUNK_TOKENS = 800
AUTO_OVERLAP_TOKENS = 400


def default_ranking_options() -> dict[str, Any]:
    return {"ranker": "default_2024_08_21", "score_threshold": 0.0, "hybrid_search": None}


def without_nulls(options: dict[str, Any]) -> dict[str, Any]:
    """Null says of an option what its absence says."""
    return {name: value for name, value in options.items() if value is not None}


class RankingOptions(ClosedSerializer):
    ranker = Enum("auto", "default_2024_08_21", required=False, allow_null=True)
    score_threshold = Number(min=0, max=1)
    hybrid_search = AnyObject(required=False, allow_null=True)

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        return {**default_ranking_options(), **without_nulls(super().to_internal_value(data))}


class FileSearchOptions(ClosedSerializer):
    max_num_results = Integer(min=1, max=50, required=False, allow_null=True)
    ranking_options = RankingOptions(required=False, allow_null=True)


class FileSearchTool(ClosedSerializer):
    file_search = FileSearchOptions(required=False, allow_null=True)

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        options = super().to_internal_value(data).get("file_search") or {}
        return {"file_search": {"ranking_options": default_ranking_options(), **without_nulls(options)}}


class Function(ClosedSerializer):
    name = String(max=NAME_MAX, min=1, pattern=NAME_PATTERN)
    description = String(required=False, allow_null=True)
    parameters = AnyObject(required=False, allow_null=True)
    strict = Boolean(required=False, allow_null=True)

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        function = super().to_internal_value(data)
        if function["name"] in RESERVED_NAMES:
            text = "Invalid '{param}': '{name}' is the name of a tool of the server. Choose another name."
            raise at("name", refusal("invalid_value", text, name=function["name"]))
        function["parameters"] = function.get("parameters") or {"type": "object", "properties": {}}
        function["strict"] = function.get("strict") or False
        return function


class FunctionTool(ClosedSerializer):
    function = Function()


def Tools(*, max: int = TOOLS_MAX, **kwargs: Any) -> Array:
    """The `tools` of an assistant or a run, with the defaults the live service filled in."""
    tool = Variant({"code_interpreter": None, "file_search": FileSearchTool, "function": FunctionTool})
    return Array(tool, max=max, **kwargs)


class ChosenName(ClosedSerializer):
    name = String(min=1)


class ChosenFunction(ClosedSerializer):
    function = ChosenName()


def ToolChoice(**kwargs: Any) -> Variant:
    shapes = {"function": ChosenFunction, "file_search": None, "code_interpreter": None}
    return Variant(shapes, words=("none", "auto", "required"), **kwargs)


class StaticChunking(ClosedSerializer):
    max_chunk_size_tokens = Integer(min=100, max=4096)
    chunk_overlap_tokens = Integer(min=0)

    def validate(self, attrs: dict[str, int]) -> dict[str, int]:
        limit = attrs["max_chunk_size_tokens"] // 2
        if error := out_of_range("integer", attrs["chunk_overlap_tokens"], None, limit):
            raise at("chunk_overlap_tokens", error)
        return attrs


class StaticStrategy(ClosedSerializer):
    static = StaticChunking()


def ChunkingStrategy(**kwargs: Any) -> Variant:
    """Read the outcome with `chunk_sizes`."""
    return Variant({"auto": None, "static": StaticStrategy}, **kwargs)


def chunk_sizes(strategy: dict[str, Any] | None) -> tuple[int, int]:
    """(chunk, overlap) in tokens of a validated chunking strategy; absent means auto."""
    static = (strategy or {}).get("static")
    if static is None:
        return AUTO_CHUNK_TOKENS, AUTO_OVERLAP_TOKENS
    return static["max_chunk_size_tokens"], static["chunk_overlap_tokens"]


class CodeInterpreterResources(ClosedSerializer):
    file_ids = Array(Id("file"), of="strings", max=CODE_FILES_MAX, required=False, allow_null=True)


class FileSearchResources(ClosedSerializer):
    vector_store_ids = Array(Id("vs"), of="strings", max=STORES_MAX, required=False, allow_null=True)


class NewStore(ClosedSerializer):
    file_ids = Array(Id("file"), of="strings", max=STORE_FILES_MAX, required=False, allow_null=True)
    chunking_strategy = ChunkingStrategy(required=False, allow_null=True)
    metadata = Metadata()


class FileSearchResourcesOrStores(FileSearchResources):
    """On creation: the ids of stores, or what a new store is made of."""

    vector_stores = Array(NewStore(), max=STORES_MAX, required=False, allow_null=True)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if attrs.get("vector_store_ids") and attrs.get("vector_stores"):
            raise refusal(
                "invalid_value", "Invalid '{param}': expected one of 'vector_store_ids' or 'vector_stores', not both."
            )
        return attrs


class ToolResources(ClosedSerializer):
    """`stores.resolve_tool_resources` turns the outcome into what an object keeps."""

    code_interpreter = CodeInterpreterResources(required=False, allow_null=True)
    file_search = FileSearchResources(required=False, allow_null=True)


class NewToolResources(ToolResources):
    """With the `vector_stores` helper of creation (contract 2.4)."""

    file_search = FileSearchResourcesOrStores(required=False, allow_null=True)


# What answers show ---------------------------------------------------------------------------------------------------


class ShownCodeInterpreter(TypedDict):
    type: Literal["code_interpreter"]


class ShownRankingOptions(TypedDict):
    ranker: Literal["auto", "default_2024_08_21"]
    score_threshold: float
    hybrid_search: dict[str, Any] | None


class ShownFileSearchOptions(TypedDict):
    max_num_results: NotRequired[int]
    ranking_options: ShownRankingOptions


class ShownFileSearch(TypedDict):
    type: Literal["file_search"]
    file_search: ShownFileSearchOptions


class ShownFunction(TypedDict):
    name: str
    description: NotRequired[str | None]
    parameters: dict[str, Any]
    strict: bool


class ShownFunctionTool(TypedDict):
    type: Literal["function"]
    function: ShownFunction


ShownTool = ShownCodeInterpreter | ShownFileSearch | ShownFunctionTool


class ShownName(TypedDict):
    name: str


class ShownChosenFunction(TypedDict):
    type: Literal["function"]
    function: ShownName


class ShownChosenTool(TypedDict):
    type: Literal["file_search", "code_interpreter"]


ShownToolChoice = Literal["none", "auto", "required"] | ShownChosenFunction | ShownChosenTool


class ShownCodeFiles(TypedDict):
    file_ids: list[str]


class ShownStores(TypedDict):
    vector_store_ids: list[str]


class ShownToolResources(TypedDict, total=False):
    code_interpreter: ShownCodeFiles
    file_search: ShownStores


class ShownChunkSizes(TypedDict):
    max_chunk_size_tokens: int
    chunk_overlap_tokens: int


class ShownChunking(TypedDict):
    type: Literal["static"]
    static: ShownChunkSizes
