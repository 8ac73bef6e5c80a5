"""Which of a module's own instructions one call runs: two calls that differ in them went different ways.

For modules that can't be followed with symbols for sizes: everything runs as it is.
"""

import sys
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any

from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook

from tasks.core.source_lines import is_outside_torch

Instructions = frozenset[tuple[CodeType | nn.Module, int]]
"""Instructions of Python code outside PyTorch, by code object and offset; and each of its modules that was called.

What ran again within one call, as a second part of a long input does, is there as a negative number, too.
"""


def instructions_of(model: nn.Module, call: Callable[[], object]) -> Instructions:
    """Run a function, and note each instruction of Python code outside PyTorch that was run.

    Args:
        model: the module; of others, which its code may make anew, the calls are not noted.
        call: runs it; what it raises is raised.
    """
    own = {*model.modules()}
    seen = set[tuple[CodeType | nn.Module, int]]()
    called_before = set[nn.Module]()

    def enter(frame: FrameType, event: str, _: Any) -> Any:
        if event != "call" or not is_outside_torch(frame.f_code.co_filename):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        code, ran = frame.f_code, set[int]()

        def trace(frame: FrameType, event: str, _: Any) -> Any:
            if event == "opcode":
                seen.add((code, ~frame.f_lasti if frame.f_lasti in ran else frame.f_lasti))
                ran.add(frame.f_lasti)
            return trace

        return trace

    def call_of(module: nn.Module, _: Any) -> None:
        if module in own:
            seen.add((module, -1 if module in called_before else 0))
            called_before.add(module)

    before = sys.gettrace()
    called = register_module_forward_pre_hook(call_of)
    sys.settrace(enter)
    try:
        call()
    finally:
        sys.settrace(before)
        called.remove()
    return frozenset(seen)


def numbers_of(model: nn.Module, instructions: Instructions) -> set[int]:
    """Numbers that the module may compare a size with: in its code, on itself, and the sizes of its tensors.

    Args:
        model: the module.
        instructions: which it ran.
    """
    codes = {code for code, _ in instructions if isinstance(code, CodeType)}
    named = {value for code in codes for value in code.co_consts}
    named |= {value for module in model.modules() for value in vars(module).values() if isinstance(value, int | float)}
    sizes = {size for tensor in (*model.parameters(), *model.buffers()) for size in tensor.shape}
    return sizes | {int(value) for value in named if type(value) in (int, float) and 1 < value < sys.maxsize}
