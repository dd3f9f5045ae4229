//! How the peers are configured: as somebody would who wants them to be fast, without logs, with
//! long timeouts and with room for every connection.

use std::ffi::OsString;
use std::fs;
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};

use crate::load::when;
use crate::program::BACKLOG;

/// A pipe is in use only as long as there is something in it.
const HAPROXY_PIPES: usize = 512;

/// Bytes. Both make bulk cheaper than its defaults of 64 and 16 KiB do, and nothing dearer.
const HAPROXY_PIPE_SIZE: usize = 256 * 1024;
const HAPROXY_BUFFER_SIZE: usize = 64 * 1024;

/// Bytes that the service replies.
const SERVICE_BODY: usize = 512;

/// Where nginx puts files, in its own directory, when it serves HTTP.
const NGINX_FILES: &str = "client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; \
     uwsgi_temp_path uwsgi; scgi_temp_path scgi;";

/// Requests on one connection.
const ENDLESS: usize = 1_000_000_000;

/// Writes HAProxy's configuration, and says how it is started.
pub fn haproxy(
    directory: &Path,
    at: SocketAddrV4,
    target: &str,
    threads: usize,
    splice: bool,
    connections: usize,
) -> Result<Vec<OsString>, String> {
    let splice = match splice {
        true => "option splice-request\n    option splice-response",
        false => "",
    };
    let text = format!(
        "\
global
    nbthread {threads}
    maxconn {connections}
    maxpipes {HAPROXY_PIPES}
    tune.pipesize {HAPROXY_PIPE_SIZE}
    tune.bufsize {HAPROXY_BUFFER_SIZE}
defaults
    mode tcp
    maxconn {connections}
    timeout connect 1h
    timeout client 1h
    timeout server 1h
    {splice}
listen all
    bind {at} backlog {BACKLOG}
    server upstream {target}
"
    );
    haproxy_with(directory, &text)
}

/// The same for `mode http`: idle connections to the service are for all clients, and it connects
/// again if that fails. Buffers are as they come.
pub fn haproxy_http(
    directory: &Path,
    at: SocketAddrV4,
    target: &str,
    threads: usize,
    connections: usize,
) -> Result<Vec<OsString>, String> {
    let text = format!(
        "\
global
    nbthread {threads}
    maxconn {connections}
defaults
    mode http
    http-reuse always
    retries 3
    maxconn {connections}
    timeout connect 1h
    timeout client 1h
    timeout server 1h
    timeout http-request 1h
    timeout http-keep-alive 1h
listen all
    bind {at} backlog {BACKLOG}
    server upstream {target}
"
    );
    haproxy_with(directory, &text)
}

fn haproxy_with(directory: &Path, text: &str) -> Result<Vec<OsString>, String> {
    let path = directory.join("haproxy.cfg");
    fs::write(&path, text).map_err(when("haproxy.cfg"))?;
    Ok(vec!["-db".into(), "-f".into(), path.into()])
}

/// Writes nginx's configuration, and says how it is started.
pub fn nginx(
    directory: &Path,
    at: SocketAddrV4,
    target: &str,
    workers: usize,
    connections: usize,
) -> Result<Vec<OsString>, String> {
    let main = nginx_main(workers, connections);
    let reuseport = nginx_reuseport(workers);
    let text = format!(
        "\
load_module {};
{main}
stream {{
    access_log off;
    tcp_nodelay on;
    proxy_buffer_size 256k; # bulk is cheaper than with its default of 16k, and nothing dearer
    proxy_connect_timeout 1h;
    proxy_timeout 1h;
    server {{
        listen {at} backlog={BACKLOG} {reuseport};
        proxy_pass {target};
    }}
}}
",
        nginx_module()?.display(),
    );
    nginx_with(directory, &text)
}

/// The same as an HTTP proxy that keeps its connections to the service.
pub fn nginx_http(
    directory: &Path,
    at: SocketAddrV4,
    target: &str,
    workers: usize,
    connections: usize,
) -> Result<Vec<OsString>, String> {
    let main = nginx_main(workers, connections);
    let reuseport = nginx_reuseport(workers);
    let text = format!(
        "\
{main}
http {{
    access_log off;
    tcp_nodelay on;
    keepalive_timeout 1h;
    keepalive_requests {ENDLESS};
    {NGINX_FILES}
    proxy_connect_timeout 1h;
    proxy_read_timeout 1h;
    proxy_send_timeout 1h;
    upstream service {{
        server {target};
        keepalive {connections};
        keepalive_timeout 1h;
        keepalive_requests {ENDLESS};
    }}
    server {{
        listen {at} backlog={BACKLOG} {reuseport};
        location / {{
            proxy_pass http://service;
            proxy_http_version 1.1;
            proxy_set_header Connection \"\";
        }}
    }}
}}
"
    );
    nginx_with(directory, &text)
}

/// nginx as the service: it answers each request itself.
pub fn nginx_service(
    directory: &Path,
    at: SocketAddrV4,
    connections: usize,
) -> Result<Vec<OsString>, String> {
    let main = nginx_main(1, connections);
    let body = "x".repeat(SERVICE_BODY);
    let text = format!(
        "\
{main}
http {{
    access_log off;
    keepalive_requests {ENDLESS};
    {NGINX_FILES}
    server {{
        listen {at} backlog={BACKLOG};
        location / {{
            return 200 {body};
        }}
    }}
}}
"
    );
    nginx_with(directory, &text)
}

/// What is the same whatever it serves.
fn nginx_main(workers: usize, connections: usize) -> String {
    format!(
        "\
worker_processes {workers};
daemon off;
pid nginx.pid;
error_log /dev/null crit;
events {{
    use epoll;
    multi_accept on;
    worker_connections {};
}}",
        2 * connections + 64, // both sides count, and a few more
    )
}

/// A listening socket for each worker, as its documentation advises where there are several.
fn nginx_reuseport(workers: usize) -> &'static str {
    if workers > 1 { "reuseport" } else { "" }
}

fn nginx_with(directory: &Path, text: &str) -> Result<Vec<OsString>, String> {
    let path = directory.join("nginx.conf");
    fs::write(&path, text).map_err(when("nginx.conf"))?;
    let prefix = directory.as_os_str().to_owned();
    let error_log = "/dev/null".into();
    Ok(vec![
        "-p".into(),
        prefix,
        "-c".into(),
        path.into(),
        "-e".into(),
        error_log,
    ])
}

/// nginx's stream module, where Debian has it.
pub fn nginx_module() -> Result<PathBuf, String> {
    let path = PathBuf::from("/usr/lib/nginx/modules/ngx_stream_module.so");
    match path.is_file() {
        true => Ok(path),
        false => Err(format!(
            "{} is missing: apt-get install nginx-light libnginx-mod-stream",
            path.display()
        )),
    }
}
