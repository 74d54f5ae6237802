"""PythonQt's manner of speaking to Qt, laid over PySide6.

PySide6's own classes are changed in place, so that objects made by Qt itself (children, loaded forms) speak the same
way. What follows is what PythonQt documents and its source shows:

- a Qt property is an attribute (``label.text``, ``button.checked = True``); its getter is therefore not callable;
- ``name`` stands for ``objectName``; ``className()`` and ``delete()`` exist; a trailing underscore is dropped
  (``dialog.exec_()``);
- signals connect by attribute (``button.clicked.connect(f)``) or by signature (``button.connect("clicked(bool)", f)``),
  hold a strong reference to the function, and pass a Python function no more arguments than it takes;
- lists of Qt arrive as tuples; ``QSettings.value`` takes a key and a default; a ``QByteArray`` gives its bytes by
  ``data()`` only;
- a child is reachable by its object name; an unknown attribute cannot be set on a class of C++.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import shiboken6
from PySide6 import QtCore, QtGui, QtNetwork, QtUiTools, QtWidgets

from standin.signals import NativeSignal, class_name, find_signal, is_cpp_class

MODULES = (QtCore, QtGui, QtWidgets, QtNetwork, QtUiTools)
# Qt calls these virtual getters itself, and PySide6 looks each one up on the Python side: they stay methods.
VIRTUAL_GETTERS = {"sizeHint", "minimumSizeHint"}
_native_property = QtCore.QObject.property
_native_set_property = QtCore.QObject.setProperty
_native_object_name = QtCore.QObject.objectName


class NativeProperty:
    """A Qt property as an attribute; ``of_class`` is what the class itself has by that name (``QTimer.singleShot``)."""

    def __init__(self, name: str, getter: Any, setter: Any, writable: bool, of_class: Any = None):
        self.name, self.getter, self.setter, self.writable, self.of_class = name, getter, setter, writable, of_class

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self.of_class or self
        return _no_list(self.getter(instance) if self.getter is not None else _native_property(instance, self.name))

    def __set__(self, instance: Any, value: Any) -> None:
        if not self.writable:
            raise AttributeError(f"Property '{self.name}' of {type(instance).__name__} object is not writable")
        try:
            accepted = value is not None
            if accepted and self.setter is not None:
                self.setter(instance, value)
            elif accepted:
                accepted = _native_set_property(instance, self.name, value)
        except TypeError:
            accepted = False
        if not accepted:
            raise AttributeError(f"Property '{self.name}' does not accept {value!r}")


class StandInProperty(QtCore.Property):
    """A Qt property of a stand-in class: Qt's form loader sees it, and Python reads and writes it as an attribute."""

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        return _no_list(self.fget(instance))

    def __set__(self, instance: Any, value: Any) -> None:
        if self.fset is None or value is None:
            raise AttributeError(f"The property of {type(instance).__name__} does not accept {value!r}")
        self.fset(instance, value)


def _set_attribute(self: Any, name: str, value: Any) -> None:
    if isinstance(value, QtCore.SignalInstance):
        return  # PySide6 keeps a bound signal in its object; nothing here reads it there
    descriptor = inspect.getattr_static(type(self), name, None)
    if isinstance(descriptor, (NativeProperty, StandInProperty, property)):
        descriptor.__set__(self, value)
    elif not is_cpp_class(type(self)) or name.startswith("_"):
        self.__dict__[name] = value
    elif isinstance(value, QtCore.QObject) and _native_object_name(value) == name:
        return  # PySide6's loader sets each named child of a form on its top widget; children are found by name anyway
    elif descriptor is None and name in [bytes(key.data()).decode() for key in self.dynamicPropertyNames()]:
        _native_set_property(self, name, value)
    elif descriptor is None:
        raise AttributeError(
            f"'{name}' does not exist on {type(self).__name__} and creating new attributes is not allowed"
        )
    else:
        raise AttributeError(f"'{name}' can not be overwritten on {type(self).__name__} object")


def _missing_attribute(self: Any, name: str) -> Any:
    if not name.startswith("__") and shiboken6.isValid(self):
        if name.endswith("_") and hasattr(type(self), name[:-1]):
            return getattr(self, name[:-1])
        value = _native_property(self, name)
        if value is not None:
            return value
        for child in self.children():
            if _native_object_name(child) == name:
                return child
    raise AttributeError(f"{type(self).__name__} has no attribute named '{name}'")


def _change_class(cls: type) -> None:
    meta = cls.staticMetaObject  # type: ignore[attr-defined]
    for index in range(meta.propertyOffset(), meta.propertyCount()):
        described = meta.property(index)
        name = described.name()
        if name in VIRTUAL_GETTERS:
            continue
        getter = getattr(cls, name, None)
        setter = getattr(cls, f"set{name[0].upper()}{name[1:]}", None)
        if inspect.isbuiltin(getter):  # a static function
            changed = NativeProperty(name, None, setter, described.isWritable(), of_class=getter)
        else:
            changed = NativeProperty(
                name, getter if inspect.isroutine(getter) else None, setter, described.isWritable()
            )
        setattr(cls, name, changed)
    for index in range(meta.methodOffset(), meta.methodCount()):
        method = meta.method(index)
        name = bytes(method.name().data()).decode()
        native = cls.__dict__.get(name)
        if method.methodType() == QtCore.QMetaMethod.MethodType.Signal and isinstance(native, QtCore.Signal):
            setattr(cls, name, NativeSignal(native, bytes(method.methodSignature().data()).decode()))
    cls.__setattr__ = _set_attribute  # type: ignore[assignment,method-assign]


def change_pyside() -> None:
    """Give all classes of PySide6 the manners of PythonQt; a second call does nothing."""
    if hasattr(QtCore.QObject, "className"):
        return
    classes = [getattr(module, name) for module in MODULES for name in dir(module)]
    chosen = [cls for cls in classes if isinstance(cls, type) and issubclass(cls, QtCore.QObject)]
    for cls in sorted(dict.fromkeys(chosen), key=lambda cls: len(cls.__mro__)):
        _change_class(cls)
    base: Any = QtCore.QObject
    # PySide6 looks its own ``connect`` up before any other. Classes with a look-up of their own keep it: they need it
    # for names that are static and not static at once (``QFile.exists``).
    base.__getattribute__ = object.__getattribute__
    base.__getattr__ = _missing_attribute
    base.name = base.__dict__["objectName"]
    base.className = class_name
    base.delete = _delete
    base.connect = lambda self, signature, function: find_signal(self, signature).connect(function)
    base.disconnect = lambda self, signature, function=None: find_signal(self, signature).disconnect(function)
    listing = {QtCore.QObject: ("children", "findChildren"), QtCore.QSettings: ("allKeys", "childKeys", "childGroups")}
    for cls, names in listing.items():
        for name in names:
            setattr(cls, name, _as_tuple(getattr(cls, name)))
    native_value = QtCore.QSettings.value
    settings: Any = QtCore.QSettings
    settings.value = lambda self, key, default=None: _no_list(native_value(self, key, default))
    byte_array: Any = QtCore.QByteArray
    byte_array.__bytes__ = _refuse_bytes
    timer: Any = QtCore.QTimer
    timer.__dict__["singleShot"].of_class = _single_shot
    for name in ("getSaveFileName", "getOpenFileName", "getOpenFileNames"):
        setattr(QtWidgets.QFileDialog, name, staticmethod(_first_of(getattr(QtWidgets.QFileDialog, name))))


def _single_shot(milliseconds: int, function: Callable[[], Any]) -> None:
    # PySide6 would hold a bound method weakly; PythonQt holds it until it was called.
    timer = QtCore.QTimer(QtCore.QCoreApplication.instance())
    timer.setSingleShot(True)
    timer.timeout.connect(function)
    timer.timeout.connect(timer.deleteLater)
    timer.start(milliseconds)


def _delete(qt_object: QtCore.QObject) -> None:
    shiboken6.delete(qt_object)


def _no_list(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _as_tuple(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, *arguments: tuple(function(self, *arguments))


def _refuse_bytes(_array: Any) -> bytes:
    raise TypeError("PythonQt's QByteArray gives its bytes by data()")


def _first_of(function: Callable[..., Any]) -> Callable[..., Any]:
    # PySide6 answers with the file and the chosen filter, PythonQt with the file alone.
    return lambda *arguments: function(*arguments)[0]
