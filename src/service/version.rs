//! The version of the programs.

use std::sync::LazyLock;

/// What `--version` shows: the version of the project, and the commit if the build was told of one.
///
/// `DISNIX_BUILD_COMMIT` tells it (packaging/deb/build). A build script that asked git would compile everything again
/// at each commit, and give a checkout another program than the same files without git.
pub fn version() -> &'static str {
    static VERSION: LazyLock<String> = LazyLock::new(|| {
        of(
            env!("CARGO_PKG_VERSION"),
            option_env!("DISNIX_BUILD_COMMIT"),
        )
    });
    &VERSION
}

fn of(version: &str, commit: Option<&str>) -> String {
    match commit {
        None | Some("") => version.to_owned(),
        Some(commit) => format!("{version} ({commit})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_that_was_told_of_a_commit_shows_it() {
        assert_eq!(of("1.2.3", Some("4f5e6d7")), "1.2.3 (4f5e6d7)");
    }

    #[test]
    fn another_build_shows_the_version_alone() {
        assert_eq!(of("1.2.3", None), "1.2.3");
        assert_eq!(of("1.2.3", Some("")), "1.2.3");
    }
}
