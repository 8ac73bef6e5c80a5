"""What torchvision's own source files declare, read as text: importing torchvision takes seconds."""

import functools
import importlib.util
import re
from pathlib import Path

_BUILDER = re.compile(
    r'^@register_model\((?:name="(?P<name>\w+)")?\)\n(?:(?!def |class ).*\n)*'
    r"def (?P<function>\w+)\([^)]*?weights: Optional\[(?:Union\[)?(?P<weights>\w+)",
    re.MULTILINE,
)
_CLASS = re.compile(r"^class (?P<name>\w+)\(WeightsEnum\):\n(?P<body>(?:[ \t].*\n|\n)*)", re.MULTILINE)
_MEMBER = re.compile(r'^    (?P<name>\w+) = Weights\(\s*(?:#.*\s*)*url="(?P<url>[^"]+)"', re.MULTILINE)
_DEFAULT = re.compile(r"^    DEFAULT = (?P<name>\w+)", re.MULTILINE)


@functools.cache
def default_weights() -> dict[str, str]:
    """The URL of the DEFAULT weights of each model, by the names under which torchvision lists them, sorted."""
    package = importlib.util.find_spec("torchvision")
    if package is None or package.origin is None:
        return {}
    sources = [path.read_text(encoding="utf-8") for path in (Path(package.origin).parent / "models").rglob("*.py")]
    urls = {}
    for declared in (match for source in sources for match in _CLASS.finditer(source)):
        members = {member["name"]: member["url"] for member in _MEMBER.finditer(declared["body"])}
        default = _DEFAULT.search(declared["body"])
        urls[declared["name"]] = members.get(default["name"], "") if default else ""
    builders = [match for source in sources for match in _BUILDER.finditer(source)]
    return {name: urls.get(m["weights"], "") for name, m in sorted((m["name"] or m["function"], m) for m in builders)}
