//! `hello-world-client`: talks to a hello-world-server.

fn main() -> std::process::ExitCode {
    disnix_proxy_example::hello::client::main()
}
