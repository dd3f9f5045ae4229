//! The pipes whose writing ends are the tokens.
//!
//! They have names in the runtime directory, `handed-over/NUMBER` (fifo(7)), so that they outlive
//! the process: a pipe with a writer belongs to a connection that an earlier process handed over.
//! Without a directory they have no names, and after a kill those connections are not counted.
//!
//! Each connection opens a pipe for writing. That costs less than half of making a pipe, and the
//! reading end need not be watched anew.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, fstat, mkfifoat, openat, unlinkat};
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};

use crate::service::directory::Directory;

const NAME: &str = "handed-over";

/// The size of a pipe's buffer, in bytes: the smallest, because nothing goes through a token and each user
/// has a limit (`pipe-user-pages-soft`, pipe(7)).
const PIPE_SIZE: usize = 4096;

/// How much is read of a token that the receiver writes to, in bytes.
const READ_MAX: usize = 1 << 20;

/// The directory of the pipes; without one they have no names.
#[derive(Debug)]
pub(super) struct PipeDirectory(Option<OwnedFd>);

/// A pipe of an earlier process.
#[derive(Debug)]
pub(super) struct FoundPipe {
    /// Its name.
    pub(super) number: u32,
    pub(super) read: OwnedFd,
    /// Whether it is open for writing: then it has the token of an open connection.
    pub(super) has_writer: bool,
}

impl PipeDirectory {
    /// The directory in a runtime directory, made if it does not exist.
    pub(super) fn make(runtime_directory: Option<&Path>) -> io::Result<Self> {
        let directory = runtime_directory.map(|path| open(path, true));
        Ok(Self(directory.transpose()?))
    }

    /// The directory in a runtime directory, if an earlier process has made one.
    pub(super) fn find(runtime_directory: Option<&Path>) -> io::Result<Option<Self>> {
        match runtime_directory.map(|path| open(path, false)).transpose() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            directory => Ok(directory?.map(|directory| Self(Some(directory)))),
        }
    }

    /// Whether the pipes outlive the process.
    pub(super) fn is_lasting(&self) -> bool {
        self.0.is_some()
    }

    /// Makes a pipe, and returns its reading end. Fails with `AlreadyExists` if there is one of this number.
    pub(super) fn create(&self, number: u32) -> io::Result<OwnedFd> {
        let read = match &self.0 {
            Some(directory) => {
                let name = number.to_string();
                mkfifoat(directory, &name, Mode::RUSR | Mode::WUSR)?;
                open_read(directory, &name).inspect_err(|_| self.remove(number))?
            }
            None => pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?.0,
        };
        // A larger buffer works as well.
        let _ = fcntl_setpipe_size(&read, PIPE_SIZE);
        Ok(read)
    }

    /// Returns a token: opens the pipe with the reading end `read` for writing.
    pub(super) fn token(&self, number: u32, read: &OwnedFd) -> io::Result<OwnedFd> {
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let (directory, name) = match &self.0 {
            Some(directory) => (directory.as_fd(), number.to_string()),
            None => (CWD, format!("/proc/self/fd/{}", read.as_raw_fd())),
        };
        Ok(openat(directory, name, flags, Mode::empty())?)
    }

    /// Removes the name of a pipe.
    pub(super) fn remove(&self, number: u32) {
        if let Some(directory) = &self.0 {
            // If this fails, the next process finds and removes it.
            let _ = unlinkat(directory, number.to_string(), AtFlags::empty());
        }
    }

    /// Returns all pipes except those that `is_own`, and removes what is no pipe. Fails if the directory
    /// cannot be read, or if there are not enough descriptors.
    pub(super) fn others(&self, is_own: impl Fn(u32) -> bool) -> io::Result<Vec<FoundPipe>> {
        let Some(directory) = &self.0 else {
            return Ok(Vec::new());
        };
        let mut found = Vec::new();
        for entry in rustix::fs::Dir::read_from(directory)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let Ok(number) = name.parse::<u32>() else {
                continue;
            };
            if is_own(number) {
                continue;
            }
            match open_read(directory, &name) {
                Ok(read) => {
                    let has_writer = has_writer(&read);
                    found.push(FoundPipe {
                        number,
                        read,
                        has_writer,
                    });
                }
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => self.remove(number),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }
}

fn open(runtime_directory: &Path, make: bool) -> io::Result<OwnedFd> {
    let directory = Directory::open(runtime_directory)?;
    Ok(directory.subdirectory(NAME, make)?.into())
}

fn open_read(directory: &OwnedFd, name: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let read = openat(directory, name, flags, Mode::empty())?;
    match FileType::from_raw_mode(fstat(&read)?.st_mode) {
        FileType::Fifo => Ok(read),
        _ => Err(io::ErrorKind::InvalidInput.into()),
    }
}

/// Whether a pipe has a writer: read(2) reports the end if it has none, and that it would have to wait if it
/// has one. What the writer has written is discarded.
fn has_writer(read: &OwnedFd) -> bool {
    let mut buffer = [0; PIPE_SIZE];
    let mut total = 0;
    while total < READ_MAX {
        match rustix::io::read(read, &mut buffer) {
            Ok(0) => return false,
            Ok(count) => total += count,
            Err(_) => return true,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn the_next_process_finds_the_pipes_that_have_a_writer() {
        let directory = tempfile::tempdir().unwrap();
        let find = || PipeDirectory::find(Some(directory.path())).unwrap();
        assert!(find().is_none());
        let pipes = PipeDirectory::make(Some(directory.path())).unwrap();
        let reads = [1, 2, 3].map(|number| pipes.create(number).unwrap());
        let error = pipes.create(2).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        let token = pipes.token(2, &reads[1]).unwrap();
        // What is written to it changes nothing.
        rustix::io::write(&token, b"noise").unwrap();
        std::fs::write(directory.path().join(NAME).join("7"), "no pipe").unwrap();
        std::fs::write(directory.path().join(NAME).join("other"), "").unwrap();
        drop((reads, pipes));

        let pipes = find().unwrap();
        let look = || -> BTreeMap<_, _> {
            let found = pipes.others(|number| number == 3).unwrap().into_iter();
            found.map(|pipe| (pipe.number, pipe.has_writer)).collect()
        };
        assert_eq!(look(), BTreeMap::from([(1, false), (2, true)]));
        drop(token);
        pipes.remove(1);
        assert_eq!(look(), BTreeMap::from([(2, false)]));
    }

    #[test]
    fn without_a_directory_the_pipes_have_no_names() {
        let pipes = PipeDirectory::make(None).unwrap();
        assert!(!pipes.is_lasting());
        let read = pipes.create(1).unwrap();
        for _ in 0..3 {
            let token = pipes.token(1, &read).unwrap();
            assert!(has_writer(&read));
            drop(token);
            assert!(!has_writer(&read));
        }
        assert!(pipes.others(|_| false).unwrap().is_empty());
    }

    #[test]
    fn one_that_writes_without_end_counts_as_a_writer() {
        let directory = tempfile::tempdir().unwrap();
        let pipes = PipeDirectory::make(Some(directory.path())).unwrap();
        let read = pipes.create(1).unwrap();
        let token = pipes.token(1, &read).unwrap();
        let (done, is_done) = std::sync::mpsc::channel::<()>();
        let writer = std::thread::spawn(move || {
            while is_done.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
                let _ = rustix::io::write(&token, &[0; PIPE_SIZE]);
            }
        });
        assert!(has_writer(&read));
        drop(done);
        writer.join().unwrap();
    }
}
