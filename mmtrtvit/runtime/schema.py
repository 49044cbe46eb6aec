"""Schema of JSON files: a dataclass declares what a file may hold, and checks it."""

import json
import math
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from ..errors import UserError

Kind = TypeVar('Kind')
NAMES = {
    str: 'a text',
    int: 'a whole number',
    float: 'a number',
    bool: 'true or false',
    dict: 'an object',
    list: 'a list',
    NoneType: 'null',
}


def read_json(path: str | Path, kind: type[Kind]) -> Kind:
    """Reads a file into a dataclass; keys that it does not declare are left out.

    Args:
        path: The file.
        kind: The dataclass. Its fields are text, numbers, booleans, other dataclasses, and lists,
            tuples, dicts and unions of these.

    Raises:
        UserError: If the file cannot be read as JSON, or a value is missing or of another type;
            the message names the file and the key.
    """
    try:
        content = json.loads(Path(path).read_text(encoding='utf-8'))
    except FileNotFoundError:
        raise UserError(f'there is no file {path}.') from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f'cannot read {path} as JSON: {error}') from error
    return parse(content, kind, source=f'{path}:', key='')


def parse(value: Any, kind: Any, *, source: str, key: str) -> Any:
    """Returns a JSON value as a type.

    Args:
        value: What ``json.loads`` gives.
        kind: The type, as the annotations of a dataclass have it.
        source: What messages call the place of the value.
        key: Where the value is in it, by dots.

    Raises:
        UserError: If it is of another type.
    """
    origin, inner = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if origin in (Union, UnionType):
        return _first_that_fits(value, inner, source, key)
    if is_dataclass(kind):
        return _object(value, kind, source, key)
    if origin is dict and isinstance(value, dict):
        return {
            name: parse(each, inner[1], source=source, key=_join(key, name))
            for name, each in value.items()
        }
    if origin in (list, tuple) and isinstance(value, list | tuple):
        endless = origin is list or inner[-1] is Ellipsis
        if not endless and len(value) != len(inner):
            raise _wrong(value, f'{len(inner)} values', source, key)
        kinds = [inner[0]] * len(value) if endless else inner
        return origin(
            parse(each, one, source=source, key=_join(key, index))
            for index, (each, one) in enumerate(zip(value, kinds))
        )
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        if abs(value) < math.inf:
            return float(min(max(value, -1e300), 1e300))
    elif (
        isinstance(kind, type)
        and isinstance(value, kind)
        and (kind is bool or not isinstance(value, bool))
    ):
        return value
    raise _wrong(value, _name(kind), source, key)


def _object(value: Any, kind: Any, source: str, key: str) -> Any:
    if not isinstance(value, dict):
        raise _wrong(value, 'an object', source, key)
    kinds, found = get_type_hints(kind), {}
    for each in fields(kind):
        if each.name in value:
            found[each.name] = parse(
                value[each.name], kinds[each.name], source=source, key=_join(key, each.name)
            )
        elif each.default is MISSING and each.default_factory is MISSING:
            raise UserError(f'{source} there is no {_join(key, each.name)}.')
    return kind(**found)


def _first_that_fits(value: Any, kinds: tuple[Any, ...], source: str, key: str) -> Any:
    errors = []
    try:
        for kind in kinds:
            try:
                return parse(value, kind, source=source, key=key)
            except UserError as error:
                errors.append(error)
        if any(is_dataclass(kind) for kind in kinds) and isinstance(value, dict):
            raise errors[[is_dataclass(kind) for kind in kinds].index(True)]
        raise _wrong(value, ' or '.join(map(_name, kinds)), source, key)
    finally:  # their tracebacks hold all callers, and so a session's memory, in a circle
        errors.clear()


def _wrong(value: Any, expected: str, source: str, key: str) -> UserError:
    shown = repr(value)
    shown = shown if len(shown) <= 60 else f'{shown[:57]}...'
    return UserError(f'{source} {key or "all of it"} is {shown}, expected {expected}.')


def _name(kind: Any) -> str:
    if get_origin(kind) in (list, tuple):
        inner = get_args(kind)
        return (
            'a list'
            if get_origin(kind) is list or inner[-1] is Ellipsis
            else (f'a list of {len(inner)}')
        )
    return 'an object' if is_dataclass(kind) else NAMES.get(get_origin(kind) or kind, str(kind))


def _join(key: str, name: str | int) -> str:
    return f'{key}.{name}' if key else str(name)
