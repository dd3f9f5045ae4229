"""HTTP services whose replies name their request and the version of the service."""

from pathlib import Path

SERVICES = Path(__file__).resolve().parents[1] / "services"
PORT = 8080
NEXT = "/root/next"

NGINX = """worker_processes 1;
pid /run/nginx.pid;
error_log /var/log/nginx/error.log;
events {{ worker_connections 2048; }}
http {{
  keepalive_timeout 10m;
  keepalive_requests 1000000;
  access_log off;
  server {{
    listen 127.0.0.1:8080 backlog=4096;
    return 200 "v{version} $request_method $request_uri\\n";
  }}
}}
"""

APACHE = """ServerName service
Listen 127.0.0.1:8080
PidFile /run/apache2.pid
ErrorLog /var/log/apache2/error.log
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule alias_module /usr/lib/apache2/modules/mod_alias.so
LoadModule include_module /usr/lib/apache2/modules/mod_include.so
KeepAlive On
KeepAliveTimeout 600
MaxKeepAliveRequests 0
AliasMatch "^/.*" /srv/reply
<Directory /srv>
  Require all granted
  Options +Includes
  SetOutputFilter INCLUDES
</Directory>
"""
APACHE_REPLY = """v{version} <!--#echo var="REQUEST_METHOD" --> <!--#echo var="REQUEST_URI" -->
"""

WSGI = """VERSION = {version}

def app(environ, start_response):
    environ["wsgi.input"].read()
    body = f"v{{VERSION}} {{environ['REQUEST_METHOD']}} {{environ['PATH_INFO']}}\\n".encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""

ASGI = """VERSION = {version}

async def app(scope, receive, send):
    while scope["type"] == "http" and (await receive()).get("more_body"):
        pass
    body = f"v{{VERSION}} {{scope['method']}} {{scope['path']}}\\n".encode()
    await send({{"type": "http.response.start", "status": 200,
                "headers": [(b"content-length", str(len(body)).encode())]}})
    await send({{"type": "http.response.body", "body": body}})
"""

AIOHTTP = """from aiohttp import web

VERSION = {version}

async def reply(request):
    await request.read()
    return web.Response(text=f"v{{VERSION}} {{request.method}} {{request.path}}\\n")

app = web.Application()
app.router.add_route("*", "/{{path:.*}}", reply)
web.run_app(app, host="127.0.0.1", port=8080, keepalive_timeout=600, backlog=4096, access_log=None)
"""

NODE = """const server = require('http').createServer((request, response) => {{
  request.resume().on('end', () => response.end(`v{version} ${{request.method}} ${{request.url}}\\n`));
}});
server.keepAliveTimeout = 600000;
server.listen(8080, '127.0.0.1');
"""

# Python takes a program that was rewritten within a second, with the same length, for the one that it has compiled.
SERVICE = """[Service]
ExecStart={command}
WorkingDirectory=/srv
Environment=PYTHONDONTWRITEBYTECODE=1
LimitNOFILE=65536
"""

SOCKET = """[Socket]
ListenStream=127.0.0.1:8080
Backlog=4096
TriggerLimitIntervalSec=0
"""


class WebService:
    """A service on a host; `files` depend on its version, `command` is that of its unit."""

    unit = "web.service"
    # Those of Debian that are not in every root.
    packages = ()
    # How to kill it, and to start it again.
    kill = "systemctl kill --signal=KILL web; systemctl restart"
    files = {}
    command = None
    # Files that are the same in every version.
    fixed = {}

    def __init__(self, host, command=None):
        self.host, self.version = host, 1
        command = command or self.command
        if command:
            host.write(f"/etc/systemd/system/{self.unit}", SERVICE.format(command=command))
        for path, text in {**self.fixed, **self._files()}.items():
            host.write(path, text)
        # Tests restart it more than five times in ten seconds.
        host.drop_in(self.unit, "[Unit]\nStartLimitIntervalSec=0\n", name="often")

    def _files(self):
        return {path: text.format(version=self.version) for path, text in self.files.items()}

    def start(self):
        """Starts it."""
        self.host.systemctl("start", self.unit)

    def next_version(self, how="systemctl restart"):
        """The command that installs the next version and puts it into operation."""
        self.version += 1
        for path, text in self._files().items():
            self.host.write(NEXT + path, text)
        return ["sh", "-c", f"cp -r {NEXT}/. / && {how} {self.unit}"]


class Nginx(WebService):
    """From Debian."""

    unit = "nginx.service"
    kill = "systemctl kill --signal=KILL nginx; systemctl restart"
    files = {"/etc/nginx/nginx.conf": NGINX}


class PythonHttp(WebService):
    """Python's own server: head and body of a reply are two packets, and SIGTERM ends it at once."""

    files = {"/srv/version": "{version}\n"}
    fixed = {"/srv/http_service.py": (SERVICES / "http_service.py").read_text()}
    command = "/usr/bin/python3 /srv/http_service.py"

    @classmethod
    def socket_activated(cls, host, idle):
        """With a socket that systemd holds; it exits `idle` seconds after its last connection."""
        host.write("/etc/systemd/system/web.socket", SOCKET)
        service = cls(host, f"{cls.command} {idle}")
        host.systemctl("start", "web.socket")
        return service


class Apache(WebService):
    """Its replies are chunked."""

    packages = ("apache2-bin",)
    files = {"/srv/reply": APACHE_REPLY}
    fixed = {"/etc/apache2/apache2.conf": APACHE, "/var/log/apache2/error.log": ""}
    command = "/usr/sbin/apache2 -DFOREGROUND -f /etc/apache2/apache2.conf"


class Gunicorn(WebService):
    """One process with threads."""

    packages = ("python3-gunicorn", "gunicorn")
    files = {"/srv/app.py": WSGI}
    command = "/usr/bin/gunicorn --threads=64 --keep-alive=600 --bind=127.0.0.1:8080 app:app"


class Uvicorn(WebService):
    """On asyncio."""

    packages = ("uvicorn",)
    files = {"/srv/app.py": ASGI}
    command = "/usr/bin/uvicorn --host=127.0.0.1 --port=8080 --timeout-keep-alive=600 --lifespan=off app:app"


class Aiohttp(WebService):
    """Its own server on asyncio; SIGTERM has it end its connections."""

    packages = ("python3-aiohttp",)
    files = {"/srv/service.py": AIOHTTP}
    command = "/usr/bin/python3 /srv/service.py"


class Node(WebService):
    """Node's own server."""

    packages = ("nodejs",)
    files = {"/srv/service.js": NODE}
    command = "/usr/bin/node /srv/service.js"
