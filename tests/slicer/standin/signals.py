"""Signals in PythonQt's manner: connected by attribute or by signature, to functions that are held strongly."""

from __future__ import annotations

import inspect
import sys
import types
from collections.abc import Callable
from typing import Any

import shiboken6
from PySide6 import QtCore

_native_connect = QtCore.QObject.connect
_native_disconnect = QtCore.QObject.disconnect
# What is connected to each C++ object: signature, function, and what stands between them.
_connections: dict[int, list[tuple[str, Callable[..., Any], Callable[..., Any]]]] = {}


def pointer(qt_object: QtCore.QObject) -> int:
    """Return the address of the C++ object, its identity whatever Python wrapper it has."""
    return int(shiboken6.getCppPointer(qt_object)[0])


def arguments_for(function: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """Cut the arguments to those that a Python function takes; any other callable gets all of them, as in PythonQt."""
    taken = 0
    plain = function
    if isinstance(function, types.MethodType):
        plain, taken = function.__func__, 1
    if not isinstance(plain, types.FunctionType) or plain.__code__.co_flags & inspect.CO_VARARGS:
        return arguments
    return arguments[: plain.__code__.co_argcount - taken]


def call_safely(function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    """Call a slot; an error in it is reported and goes no further, as in PythonQt."""
    try:
        function(*arguments_for(function, arguments))
    except Exception:
        sys.excepthook(*sys.exc_info())


class BoundSignal:
    """A signal of one object; ``native`` is PySide6's signal, None for a signal that a class of the stand-in adds."""

    def __init__(self, owner: QtCore.QObject, signature: str, native: NativeSignal | None = None):
        self.owner, self.signature, self.native = owner, signature, native

    def _list(self) -> list[tuple[str, Callable[..., Any], Callable[..., Any]]]:
        key = pointer(self.owner)
        if key not in _connections:
            _connections[key] = []
            _native_connect(self.owner, "2destroyed()", lambda: _connections.pop(key, None))
        return _connections[key]

    def connect(self, function: Callable[..., Any]) -> bool:
        """Call ``function`` at each emission; a strong reference is kept."""
        if not callable(function):
            raise TypeError(f"{function!r} is not callable")
        count = parameter_count(self.signature)

        def relay(*arguments: Any) -> None:
            call_safely(function, arguments[:count])

        if self.native is not None:
            _native_connect(self.owner, f"2{self.signature}", relay)
        self._list().append((self.signature, function, relay))
        return True

    def disconnect(self, function: Callable[..., Any] | None = None) -> bool:
        """Disconnect ``function``, or everything; say whether something was connected."""
        kept, gone = [], []
        for entry in self._list():
            (gone if entry[0] == self.signature and function in (None, entry[1]) else kept).append(entry)
        if self.native is not None:
            for _signature, _function, relay in gone:
                _native_disconnect(self.owner, f"2{self.signature}", relay)
        _connections[pointer(self.owner)] = kept
        return bool(gone)

    def emit(self, *arguments: Any) -> None:
        """Emit the signal."""
        if self.native is not None:
            self.native.signal.__get__(self.owner).emit(*arguments)
            return
        for signature, _function, relay in list(self._list()):
            if signature == self.signature:
                relay(*arguments)

    __call__ = emit


class NativeSignal:
    """Descriptor in place of PySide6's signal."""

    def __init__(self, signal: Any, signature: str):
        self.signal, self.signature = signal, signature

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else BoundSignal(instance, self.signature, self)


class StandInSignal:
    """Signals of a stand-in class; the first signature is the one that the attribute means."""

    def __init__(self, *signatures: str):
        self.signatures = [normalized(signature) for signature in signatures]

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else BoundSignal(instance, self.signatures[0])


def normalized(signature: str) -> str:
    return bytes(QtCore.QMetaObject.normalizedSignature(signature).data()).decode()


def parameter_count(signature: str) -> int:
    inside = signature[signature.index("(") + 1 : -1]
    return 0 if not inside else inside.count(",") + 1


def find_signal(qt_object: QtCore.QObject, signature: str) -> BoundSignal:
    """Return the signal of a signature such as ``clicked(bool)``; a wrong one is an error (PythonQt answers False)."""
    wanted = normalized(signature)
    descriptor = inspect.getattr_static(type(qt_object), wanted.split("(")[0], None)
    if isinstance(descriptor, StandInSignal) and wanted in descriptor.signatures:
        return BoundSignal(qt_object, wanted)
    if isinstance(descriptor, NativeSignal) and qt_object.metaObject().indexOfSignal(wanted) >= 0:
        return BoundSignal(qt_object, wanted, descriptor)
    raise ValueError(f"{class_name(qt_object)} has no signal '{signature}'")


def class_name(qt_object: QtCore.QObject) -> str:
    """Return the name of the C++ class."""
    for cls in type(qt_object).__mro__:
        if is_cpp_class(cls):
            return cls.__name__
    raise TypeError(f"{qt_object!r} is no object of Qt")


def is_cpp_class(cls: type) -> bool:
    """Say whether the class stands for one of C++ (Qt's own, or one of the stand-in)."""
    return cls.__module__.startswith("PySide6.") or "_stands_for_cpp" in cls.__dict__
