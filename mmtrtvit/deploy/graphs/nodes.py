"""Names of nodes, and what they say of the modules that wrote them."""

from itertools import takewhile


def module_of(node: str) -> tuple[str, ...]:
    """``'/backbone/stem/stem.0/conv/Conv'`` as ``('backbone', 'stem', '0', 'conv')``.

    A container comes once more, in front of the number of the module within, where the exporter of
    traced modules wrote the name. Unlike modules, ops begin with a capital letter. Names without a
    slash in front say nothing of modules.
    """
    if not node.startswith('/'):
        return ()
    scopes = list(takewhile(lambda scope: not scope[:1].isupper(), node.strip('/').split('/')))
    kept = [
        scope
        for scope, inner in zip(scopes, [*scopes[1:], ''])
        if not inner.startswith(f'{scope}.')
    ]
    return tuple(part for scope in kept for part in scope.split('.'))
