//! `disnix-tcp-proxyctl`: locks, drains and steers a disnix-tcp-proxy.

fn main() -> std::process::ExitCode {
    disnix_proxy_example::ctl::main()
}
