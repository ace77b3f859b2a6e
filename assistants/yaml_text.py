"""YAML as Kumos writes and reads it: the values of JSON, in the form that people read and compare best.

Written: texts of several lines as blocks, keys in their order, nothing folded, no anchors. Read: what JSON can say, so
no dates, no tags, numbers as JSON writes them, and keys are texts. An alias is refused: a few lines of them could stand
for gigabytes.
"""

from __future__ import annotations

import re
from typing import Any

import yaml
from yaml.constructor import ConstructorError

JSON_TAGS = ("null", "bool", "int", "float", "str", "seq", "map")
UNSAFE_IN_BLOCKS = re.compile("[^\t\n\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010fffe]")
"""What a reader would take for the end of a line, or not take at all."""
NESTING = "It is nested too deeply."
INTEGER = re.compile(r"-?(?:0|[1-9][0-9]*)$")
DECIMAL = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?$")
BOOLEANS = re.compile("^(?:true|True|TRUE|false|False|FALSE)$")
SURROGATE = re.compile("[\ud800-\udfff]")
DIGITS_MAX = 20
"""Of a number, without leading zeros: no number of 64 bits has more, and longer ones take long to read."""


class NotYaml(ValueError):
    """What is wrong with a text, and where."""


def write(value: Any) -> str:
    text: str = yaml.dump(value, Dumper=Writer, sort_keys=False, allow_unicode=True, width=1_000_000)
    return text


def read(text: str) -> Any:
    """NotYaml says in words what is wrong. Whether the value can be stored is not asked here."""
    try:
        return yaml.load(text, Loader=Reader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise NotYaml(f"This is not YAML: {error.problem}{place}.") from None
    except yaml.reader.ReaderError as error:
        raise NotYaml(f"This is not YAML: {error.reason} at character {error.position + 1}.") from None
    except RecursionError:
        raise NotYaml(NESTING) from None
    except (ValueError, OverflowError):  # "\UFFFFFFFF" of a quoted text
        raise NotYaml("This is not YAML: an escape stands for no character.") from None


class Writer(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        """Lists stand further in than what they belong to."""
        super().increase_indent(flow, False)

    def analyze_scalar(self, scalar: str) -> yaml.emitter.ScalarAnalysis:
        """A block may have tabs, and spaces at the ends of its lines, as Markdown does; stock PyYAML would quote it."""
        analysis = super().analyze_scalar(scalar)
        analysis.allow_block = not UNSAFE_IN_BLOCKS.search(scalar)
        return analysis

    def represent_text(self, text: str) -> yaml.ScalarNode:
        style = None
        if UNSAFE_IN_BLOCKS.search(text):
            style = '"'
        elif "\n" in text:
            style = "|"
        return self.represent_scalar("tag:yaml.org,2002:str", text, style)


Writer.add_representer(str, Writer.represent_text)
NUMBERS = {"tag:yaml.org,2002:int": INTEGER, "tag:yaml.org,2002:float": DECIMAL}
NUMBERS_BEGIN = list("-0123456789")
# A text that looks like a number of JSON's is quoted, as is one that looks like a number of YAML's.
Writer.add_implicit_resolver("tag:yaml.org,2002:float", DECIMAL, NUMBERS_BEGIN)


class Reader(yaml.SafeLoader):
    """A SafeLoader that knows no more than JSON does."""

    yaml_constructors = {
        tag: maker
        for tag, maker in yaml.SafeLoader.yaml_constructors.items()
        if tag is None or tag.rpartition(":")[2] in JSON_TAGS
    }
    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in known if tag.rpartition(":")[2] == "null"]
        for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            alias = self.get_event()  # type: ignore[no-untyped-call]
            raise ConstructorError(None, None, "aliases are not taken", alias.start_mark)
        return super().compose_node(parent, index)

    def construct_object_map(self, node: yaml.MappingNode) -> dict[str, Any]:
        if not isinstance(node, yaml.MappingNode):
            raise ConstructorError(None, None, "this is no object", node.start_mark)
        found: dict[str, Any] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode) or SURROGATE.search(key.value):
                raise ConstructorError(None, None, "a key must be a text", key.start_mark)
            if key.value in found:
                raise ConstructorError(None, None, f"the key “{key.value}” stands here twice", key.start_mark)
            found[key.value] = self.construct_object(value, deep=True)
        return found

    def construct_number(self, node: yaml.ScalarNode) -> int | float:
        """YAML has more: the base 60 of 1:30, which takes a time that grows with the square of its length."""
        text = self.construct_scalar(node)
        if not NUMBERS[node.tag].fullmatch(text):
            raise ConstructorError(None, None, "this is no number as JSON writes it", node.start_mark)
        if len(re.sub("[eE].*|[^0-9]", "", text).lstrip("0")) > DIGITS_MAX:
            raise ConstructorError(None, None, f"a number has at most {DIGITS_MAX} digits", node.start_mark)
        return int(text) if node.tag.endswith(":int") else float(text)

    def construct_boolean(self, node: yaml.ScalarNode) -> bool:
        text = self.construct_scalar(node)
        if not BOOLEANS.match(text):
            raise ConstructorError(None, None, "this is neither true nor false", node.start_mark)
        return text.lower() == "true"


Reader.add_constructor("tag:yaml.org,2002:map", Reader.construct_object_map)
Reader.add_constructor("tag:yaml.org,2002:bool", Reader.construct_boolean)
for tag, pattern in NUMBERS.items():
    Reader.add_constructor(tag, Reader.construct_number)
    Reader.add_implicit_resolver(tag, pattern, NUMBERS_BEGIN)
Reader.add_implicit_resolver("tag:yaml.org,2002:bool", BOOLEANS, list("tTfF"))
