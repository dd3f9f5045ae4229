//! Answers `hello`, and costs nothing while no client is there.

fn main() -> std::process::ExitCode {
    disnix_proxy_example::hello::server::main()
}
