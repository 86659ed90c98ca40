//! Debian's nginx, set up to do what the router does: one process, no cache, the same headers, and
//! a log line that says the same.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};

/// How it connects to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Upstream {
    /// A connection for each request, as the router does.
    ConnectionEach,
    /// Connections are kept.
    KeepAlive,
}

/// A running nginx; killed when it is dropped.
pub(crate) struct Nginx {
    process: Child,
    pub(crate) address: SocketAddr,
}

impl Nginx {
    /// Nothing if there is no nginx on this machine.
    pub(crate) fn start(
        folder: &Path,
        server: SocketAddr,
        upstream: Upstream,
    ) -> anyhow::Result<Option<Self>> {
        if Command::new("nginx").arg("-v").stderr(Stdio::null()).status().is_err() {
            return Ok(None);
        }
        // nginx cannot be given a port by the system; nobody else looks for one here meanwhile.
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let folder = folder.join(format!("{upstream:?}"));
        fs::create_dir_all(&folder)?;
        let file = folder.join("nginx.conf");
        fs::write(&file, config(&folder, address, server, upstream))?;
        let process = Command::new("nginx")
            .arg("-c")
            .arg(&file)
            .stderr(fs::File::create(folder.join("stderr"))?)
            .spawn()
            .context("nginx")?;
        let nginx = Self { process, address };
        for _ in 0..200 {
            if TcpStream::connect(address).is_ok() {
                return Ok(Some(nginx));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let said = fs::read_to_string(folder.join("stderr"))?;
        ensure!(false, "nginx does not listen: {said}");
        Ok(None)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // It has nothing to lose.
        let _gone = self.process.kill();
        let _reaped = self.process.wait();
    }
}

fn config(folder: &Path, listen: SocketAddr, server: SocketAddr, upstream: Upstream) -> String {
    let folder = folder.display();
    let (keep, connection) = match upstream {
        Upstream::ConnectionEach => ("", "close"),
        Upstream::KeepAlive => ("keepalive 64;", ""),
    };
    format!(
        r#"
daemon off;
master_process off;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
    log_format heroku 'at=info method=$request_method path="$request_uri" host=$host '
        'request_id=$request_id fwd="$proxy_add_x_forwarded_for" dyno=web.1 '
        'connect=$upstream_connect_time service=$upstream_response_time status=$status '
        'bytes=$body_bytes_sent protocol=http';
    access_log {folder}/access.log heroku;
    keepalive_requests 1000000000;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    upstream dyno {{ server {server}; {keep} }}
    server {{
        listen {listen};
        location / {{
            proxy_pass http://dyno;
            proxy_http_version 1.1;
            proxy_set_header Connection "{connection}";
            proxy_set_header Host $host;
            proxy_set_header X-Request-ID $request_id;
            proxy_set_header X-Request-Start $msec;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header X-Forwarded-Port $server_port;
            proxy_set_header Via "1.1 vegur";
        }}
    }}
}}
"#
    )
}
