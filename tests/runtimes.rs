//! What container runtimes do with the plugins: their calls, replayed, and the runtimes themselves.
//!
//! The runtimes need real root (`JACKFIELD_LAB=root`, which `make test` runs), and their Debian packages, which `make` installs.
//! They run inside a world as every test does, so what they leave behind is seen.

mod buildah;
mod containerd;
mod joining;
mod node;
mod podman;
mod recorded;
