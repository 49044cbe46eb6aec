"""A stand-in of the Hugging Face Hub's API: what uploads and downloads of plain files need."""

import base64
import hashlib
import http.server
import json
import threading
from types import SimpleNamespace

import pytest

COMMIT = 40 * '1'


class Handler(http.server.BaseHTTPRequestHandler):
    """Keeps the files of the commits that it gets, by repository, and gives them back."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers['Content-Length']))
        self.hub.asked.append(self.path)
        if self.hub.refusal:
            return self.answer(dict(error=self.hub.refusal), 401)
        if self.path == '/api/repos/create':
            wanted = json.loads(body)
            name = f'{wanted["organization"]}/{wanted["name"]}'
            self.hub.repositories[name] = {}
            self.hub.private = wanted.get('private') or wanted.get('visibility') == 'private'
            return self.answer(dict(url=f'{self.hub.url}/{name}'))
        if self.path.endswith('/preupload/main'):
            files = [
                dict(path=file['path'], uploadMode='regular', shouldIgnore=False)
                for file in json.loads(body)['files']
            ]
            return self.answer(dict(files=files))
        if self.path.endswith('/commit/main'):
            name = self.path.removeprefix('/api/models/').removesuffix('/commit/main')
            for line in map(json.loads, body.splitlines()):
                if line['key'] == 'file':
                    content = base64.b64decode(line['value']['content'])
                    self.hub.repositories[name][line['value']['path']] = content
            url = f'{self.hub.url}/{name}/commit/{COMMIT}'
            return self.answer(dict(commitUrl=url, commitOid=COMMIT, hookOutput='', success=True))
        return self.answer(dict(errors=[], warnings=[]))  # of the card's head

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        self.hub.asked.append(self.path)
        name, _, file = self.path.lstrip('/').partition('/resolve/')
        files = self.hub.repositories.get(name)
        if files is None:
            return self.answer({}, 404, {'X-Error-Code': 'RepoNotFound'})
        content = files.get(file.partition('/')[2])
        if content is None:
            return self.answer({}, 404, {'X-Error-Code': 'EntryNotFound'})
        etag = hashlib.sha256(content).hexdigest()
        return self.answer(content, 200, {'X-Repo-Commit': COMMIT, 'ETag': f'"{etag}"'})

    def answer(self, content, status=200, headers=()):
        content = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for key, value in dict(headers).items():
            self.send_header(key, value)
        self.send_header('Content-Length', str(len(content)))
        self.end_headers()
        if self.command != 'HEAD':
            self.wfile.write(content)

    def log_message(self, *args):
        pass


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """The stand-in, in the place of the Hub, with an empty cache."""
    import huggingface_hub
    from huggingface_hub import constants

    hub = SimpleNamespace(repositories={}, asked=[], refusal=None, private=None)
    server = http.server.ThreadingHTTPServer(
        ('127.0.0.1', 0), type('OfThisHub', (Handler,), dict(hub=hub))
    )
    hub.url = f'http://127.0.0.1:{server.server_port}'
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv('no_proxy', '*')
    monkeypatch.setattr(constants, 'ENDPOINT', hub.url)
    template = hub.url + '/{repo_id}/resolve/{revision}/{filename}'
    monkeypatch.setattr(constants, 'HUGGINGFACE_CO_URL_TEMPLATE', template)
    monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path / 'hub'))
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', False)
    huggingface_hub.close_session()
    yield hub
    server.shutdown()
    server.server_close()
