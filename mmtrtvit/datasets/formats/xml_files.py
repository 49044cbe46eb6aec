"""XML files in the encodings that people's systems wrote them in."""

import re
from pathlib import Path
from xml.etree import ElementTree

DECLARED = re.compile(rb'<\?xml[^>]*?encoding\s*=\s*["\']([\w.:-]+)')

WIDER = {'gb2312': 'gb18030', 'gbk': 'gb18030'}  # what Windows writes under these names


def read_xml(path: Path) -> ElementTree.Element:
    """Returns the root of an XML file, in the encoding that it declares or else in UTF-8.

    Python's own parser knows no encodings of several bytes a character, as GBK is one.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is not XML. The message continues a sentence that begins with the name of
            the file.
    """
    content = path.read_bytes()
    declared = DECLARED.search(content[:200])
    encoding = declared[1].decode().lower() if declared else ''
    try:
        if encoding:
            return ElementTree.fromstring(content.decode(WIDER.get(encoding, encoding)))
        return ElementTree.fromstring(content)
    except (ElementTree.ParseError, LookupError, UnicodeDecodeError) as error:
        raise ValueError(f'is not an XML file: {error}') from error
