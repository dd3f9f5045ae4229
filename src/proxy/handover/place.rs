//! Where the pipes are whose writing ends are the tokens.
//!
//! They have names in the runtime directory, `handed-over/NUMBER` (fifo(7)), so that they outlive
//! the process: one that has a writer belongs to a connection that an earlier process handed over.
//! Without a directory they have none, and nobody counts those connections after a kill.
//!
//! A named pipe is opened for writing anew for each connection. That costs less than half of a new
//! pipe for each, and its reading end is watched once and for all.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, fstat, mkfifoat, openat, unlinkat};
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};

use crate::service::directory::Directory;

/// The name of the directory.
const NAME: &str = "handed-over";

/// Nothing goes through a token: the smallest buffer that there is, so that the pipes take nothing
/// from what a user may have (`pipe-user-pages-soft`, pipe(7)).
const PIPE_SIZE: usize = 4096;

/// A receiver that writes to its token all the time is not read from for ever.
const READ_MAX: usize = 1 << 20;

/// The place of the pipes.
#[derive(Debug)]
pub enum Place {
    /// They have names here.
    Directory(OwnedFd),
    /// They have none.
    Nowhere,
}

/// A pipe that was found.
#[derive(Debug)]
pub struct Found {
    /// Its name.
    pub number: u32,
    /// Its reading end.
    pub read: OwnedFd,
    /// Whether somebody has it open for writing: it is the token of an open connection.
    pub has_writer: bool,
}

impl Place {
    /// The place in a runtime directory, made if it is not there.
    ///
    /// # Errors
    ///
    /// When it can be neither found nor made.
    pub fn make(runtime_directory: Option<&Path>) -> io::Result<Self> {
        let Some(directory) = runtime_directory else {
            return Ok(Self::Nowhere);
        };
        Self::open(directory, true)
    }

    /// The place in a runtime directory, if an earlier process has made one.
    ///
    /// # Errors
    ///
    /// When it is there and cannot be opened.
    pub fn find(runtime_directory: Option<&Path>) -> io::Result<Option<Self>> {
        let found = runtime_directory.map(|directory| Self::open(directory, false));
        match found.transpose() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            result => result,
        }
    }

    fn open(directory: &Path, make: bool) -> io::Result<Self> {
        let directory = Directory::open(directory)?.subdirectory(NAME, make)?;
        Ok(Self::Directory(directory.into()))
    }

    /// Whether what is here outlives the process.
    pub fn is_lasting(&self) -> bool {
        matches!(self, Self::Directory(_))
    }

    /// Makes a pipe; its reading end.
    ///
    /// # Errors
    ///
    /// `AlreadyExists` when there is one of this number; otherwise as mkfifo(3) and open(2).
    pub fn create(&self, number: u32) -> io::Result<OwnedFd> {
        let read = match self {
            Self::Directory(directory) => {
                let name = number.to_string();
                mkfifoat(directory, &name, Mode::RUSR | Mode::WUSR)?;
                open_read(directory, &name).inspect_err(|_| self.remove(number))?
            }
            Self::Nowhere => pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?.0,
        };
        // It is no smaller then, and works as well.
        let _ = fcntl_setpipe_size(&read, PIPE_SIZE);
        Ok(read)
    }

    /// A new token: the pipe with the reading end `read`, opened for writing.
    ///
    /// # Errors
    ///
    /// As open(2).
    pub fn token(&self, number: u32, read: &OwnedFd) -> io::Result<OwnedFd> {
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let token = match self {
            Self::Directory(directory) => {
                let name = number.to_string();
                openat(directory, name, flags, Mode::empty())
            }
            Self::Nowhere => {
                let name = format!("/proc/self/fd/{}", read.as_raw_fd());
                openat(CWD, name, flags, Mode::empty())
            }
        };
        Ok(token?)
    }

    /// Removes the name of a pipe.
    pub fn remove(&self, number: u32) {
        if let Self::Directory(directory) = self {
            // What is left is found, and removed, by the next process.
            let _ = unlinkat(directory, number.to_string(), AtFlags::empty());
        }
    }

    /// All pipes that are here, but those that `is_ours`. What is no pipe is removed.
    ///
    /// # Errors
    ///
    /// When the directory cannot be read, or there are more of them than descriptors.
    pub fn found(&self, is_ours: impl Fn(u32) -> bool) -> io::Result<Vec<Found>> {
        let Self::Directory(directory) = self else {
            return Ok(Vec::new());
        };
        let mut found = Vec::new();
        for entry in rustix::fs::Dir::read_from(directory)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let Ok(number) = name.parse::<u32>() else {
                continue;
            };
            if is_ours(number) {
                continue;
            }
            match open_read(directory, &name) {
                Ok(read) => {
                    let has_writer = has_writer(&read);
                    found.push(Found {
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

fn open_read(directory: &OwnedFd, name: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let read = openat(directory, name, flags, Mode::empty())?;
    match FileType::from_raw_mode(fstat(&read)?.st_mode) {
        FileType::Fifo => Ok(read),
        _ => Err(io::ErrorKind::InvalidInput.into()),
    }
}

/// Whether a pipe has a writer: read(2) says the end if it has none, and that it would have to wait
/// if it has one. What the writer has written is thrown away.
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

    #[test]
    fn the_next_process_finds_the_pipes_that_have_a_writer() {
        let directory = tempfile::tempdir().unwrap();
        assert!(Place::find(Some(directory.path())).unwrap().is_none());
        let place = Place::make(Some(directory.path())).unwrap();
        let reads = [1, 2, 3].map(|number| place.create(number).unwrap());
        let error = place.create(2).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        let token = place.token(2, &reads[1]).unwrap();
        // Somebody who writes to it has it all the same.
        rustix::io::write(&token, b"noise").unwrap();
        std::fs::write(directory.path().join(NAME).join("7"), "no pipe").unwrap();
        std::fs::write(directory.path().join(NAME).join("other"), "").unwrap();
        drop((reads, place));

        let place = Place::find(Some(directory.path())).unwrap().unwrap();
        let look = || {
            let mut found: Vec<_> = place
                .found(|number| number == 3)
                .unwrap()
                .into_iter()
                .map(|found| (found.number, found.has_writer))
                .collect();
            found.sort_unstable();
            found
        };
        assert_eq!(look(), [(1, false), (2, true)]);
        drop(token);
        place.remove(1);
        assert_eq!(look(), [(2, false)]);
    }

    #[test]
    fn without_a_directory_the_pipes_have_no_names() {
        let place = Place::make(None).unwrap();
        assert!(!place.is_lasting());
        let read = place.create(1).unwrap();
        for _ in 0..3 {
            let token = place.token(1, &read).unwrap();
            assert!(has_writer(&read));
            drop(token);
            assert!(!has_writer(&read));
        }
        assert!(place.found(|_| false).unwrap().is_empty());
    }

    #[test]
    fn one_that_writes_without_end_counts_as_a_writer() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::make(Some(directory.path())).unwrap();
        let read = place.create(1).unwrap();
        let token = place.token(1, &read).unwrap();
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
