"""Parts of a graph, traced from torch or written as text, joined to one ONNX model."""

import logging
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import torch
from onnx import ModelProto, TensorProto, helper, numpy_helper, parser
from torch import Tensor, nn

OPSET = 20
IR_VERSION = 10
LEAST_HALVED = 64
"""Tensors of fewer numbers are stored as they are."""


def trace(
    module: nn.Module,
    inputs: Mapping[str, Tensor],
    outputs: Sequence[str],
    dynamic: Mapping[str, Mapping[int, Any]] | None = None,
) -> ModelProto:
    """Return a module as an ONNX model.

    Args:
        module: in evaluation mode; its arguments are all tensors.
        inputs: example of each argument, by its name and in its order.
        outputs: names of the results.
        dynamic: per argument the axes that vary, with their `torch.export.Dim`.
    """
    shapes = None
    if dynamic is not None:
        shapes = tuple(dict(dynamic[name]) if name in dynamic else None for name in inputs)
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)  # it lists packages that nobody asked for
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                module.eval(),
                tuple(inputs.values()),
                dynamo=True,
                opset_version=OPSET,
                dynamic_shapes=shapes,
                input_names=list(inputs),
                output_names=list(outputs),
                external_data=False,
                verbose=False,
            )
    finally:
        log.setLevel(level)
    assert program is not None
    return program.model_proto


def written(text: str) -> ModelProto:
    """Return a graph in ONNX's textual form as a model."""
    return parser.parse_model(f'<ir_version: {IR_VERSION}, opset_import: ["" : {OPSET}]>\n{text}')


class Assembly:
    """A graph that grows part by part.

    Args:
        name: of the graph.
        inputs: ONNX element type and shape of each input; names in a shape vary.
    """

    def __init__(self, name: str, inputs: Mapping[str, tuple[int, Sequence[int | str]]]) -> None:
        self._name = name
        self._inputs = [
            helper.make_tensor_value_info(key, kind, shape) for key, (kind, shape) in inputs.items()
        ]
        self._nodes: list[Any] = []
        self._stored: dict[str, TensorProto] = {}
        self._parts: dict[int, ModelProto] = {}
        self._count = 0

    def add(self, part: ModelProto, *inputs: str) -> list[str]:
        """Return what the outputs of a part are called; a part that is added again shares its weights.

        Args:
            part: any of its nodes without graphs of their own.
            inputs: values of this graph that become the part's inputs, in their order.
        """
        self._count += 1
        self._parts[id(part)] = part  # an id is good for as long as its object lives
        graph, owner = part.graph, f"w{list(self._parts).index(id(part))}"
        taken = [one.name for one in graph.input]
        assert len(taken) == len(inputs), (taken, inputs)
        names: dict[str, str] = {"": "", **dict(zip(taken, inputs, strict=True))}
        for tensor in graph.initializer:
            names[tensor.name] = f"{owner}/{tensor.name}"
            if names[tensor.name] not in self._stored:
                own = TensorProto()
                own.CopyFrom(tensor)
                own.name = names[tensor.name]
                self._stored[own.name] = own
        for node in graph.node:
            own = onnx.NodeProto()
            own.CopyFrom(node)
            del own.input[:], own.output[:], own.metadata_props[:]
            own.doc_string, own.name = "", ""
            own.input.extend(names[value] for value in node.input)
            for value in node.output:
                names[value] = f"p{self._count}/{value}" if value else ""
            own.output.extend(names[value] for value in node.output)
            self._nodes.append(own)
        return [names[one.name] for one in graph.output]

    def number(self, value: float) -> str:
        """Return the name of a stored float32 number."""
        name = f"number/{value!r}"
        if name not in self._stored:
            self._stored[name] = numpy_helper.from_array(np.array(value, np.float32), name)
        return name

    def join(self, values: Sequence[str], operator: str, axis: int) -> str:
        """Return several values as one, by "Concat" or, along a new axis, by "Stack"."""
        self._count += 1
        parts = list(values)
        if operator == "Stack":
            axes = f"axes/{axis}"
            self._stored[axes] = numpy_helper.from_array(np.array([axis], np.int64), axes)
            parts = [f"p{self._count}/{number}" for number in range(len(values))]
            for value, part in zip(values, parts, strict=True):
                self._nodes.append(helper.make_node("Unsqueeze", [value, axes], [part]))
        joined = f"p{self._count}/joined"
        self._nodes.append(helper.make_node("Concat", parts, [joined], axis=axis))
        return joined

    def model(
        self, outputs: Mapping[str, tuple[str, int, Sequence[int | str]]], *, about: str
    ) -> ModelProto:
        """Return the checked model, its weights stored in half precision where that loses nothing.

        Args:
            outputs: per output the value of this graph, its ONNX element type and its shape.
            about: what the graph does, for those who open it.
        """
        infos: list[Any] = []
        for name, (value, kind, shape) in outputs.items():
            self._nodes.append(helper.make_node("Identity", [value], [name]))
            infos.append(helper.make_tensor_value_info(name, kind, shape))
        nodes, stored = _halve(self._nodes, list(self._stored.values()))
        graph = helper.make_graph(nodes, self._name, self._inputs, infos, stored, about)
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
        )
        model.producer_name = "fo1"
        onnx.checker.check_model(model)
        return model


def _halve(nodes: list[Any], stored: list[TensorProto]) -> tuple[list[Any], list[TensorProto]]:
    """Return nodes and tensors with float32 that is exact as float16 stored so, and cast back when it is read."""
    casts: list[Any] = []
    kept: list[TensorProto] = []
    for tensor in stored:
        if tensor.data_type == TensorProto.FLOAT:
            values = numpy_helper.to_array(tensor)
            with np.errstate(over="ignore"):
                half = values.astype(np.float16)
            if values.size >= LEAST_HALVED and np.array_equal(half.astype(np.float32), values):
                name = f"{tensor.name}/half"
                kept.append(numpy_helper.from_array(half, name))
                casts.append(helper.make_node("Cast", [name], [tensor.name], to=TensorProto.FLOAT))
                continue
        kept.append(tensor)
    return [*casts, *nodes], kept
