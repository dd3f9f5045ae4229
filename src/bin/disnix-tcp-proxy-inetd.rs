//! `disnix-tcp-proxy-inetd`: runs a program for each client that a disnix-tcp-proxy hands over.

fn main() -> std::process::ExitCode {
    disnix_proxy_example::inetd::main()
}
