"""The directive ``messages`` of docs/messages.md, an extension of Sphinx."""

from docutils import nodes
from messages import messages, page_of
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


class Messages(SphinxDirective):
    """Lists all messages, a paragraph for each, by the pages that tell more."""

    def run(self) -> list[nodes.Node]:
        """Returns a section for each page."""
        self.env.note_reread()
        by_page: dict[str, list[str]] = {}
        for module, text in messages():
            by_page.setdefault(page_of(module), []).append(text)
        return [
            node
            for page, texts in sorted(by_page.items())
            for node in (self._title(page), self._list(texts))
        ]

    def _title(self, page: str) -> nodes.Node:
        paragraph = nodes.paragraph()
        paragraph += self.parse_inline(f'[{page.replace("_", " ").capitalize()}]({page}.md)')[0]
        return paragraph

    def _list(self, texts: list[str]) -> nodes.Node:
        items = nodes.bullet_list()
        for text in dict.fromkeys(texts):
            items += nodes.list_item('', nodes.paragraph('', '', nodes.literal(text, text)))
        return items


def setup(app: Sphinx) -> dict[str, bool]:
    """Registers the directive."""
    app.add_directive('messages', Messages)
    return dict(parallel_read_safe=True)
