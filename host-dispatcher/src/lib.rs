//! The dispatcher: drives boards over their serial lines, runs jobs on them, keeps what comes back.
//!
//! | module | what it is | touches |
//! |---|---|---|
//! | [`cli`] | what can be typed | nothing |
//! | [`command`] | what the words do | the shell below, standard streams |
//! | [`client`] | the other end of a lab's HTTP interface | a server |
//! | [`config`] | lab and board type files | nothing (`load` functions read files) |
//! | [`definition`] | test definitions, and what goes to a board with them | files and `git`, while a job is loaded |
//! | [`job`] | job files, events, verdicts, plans | nothing (`load` reads files) |
//! | [`kernel`] | reports of trouble, cut out of what a kernel prints | nothing |
//! | [`clock`] | how a board's clock stands to the host's | nothing |
//! | [`board`] | one board: phases, power, boot loader, requests | nothing |
//! | [`bootstrap`] | an agent on a board that has none, through its shell | nothing |
//! | [`deploy`] | what makes a partition an image with few bytes | nothing (reads images through a trait), threads |
//! | [`lab`] | many boards: queue, health, leases | nothing |
//! | [`lava`] | jobs and devices of LAVA as files of ours | nothing |
//! | [`lava_worker`] | a lab as a worker of LAVA's server | nothing |
//! | [`multinode`] | what the tests of one job say to each other over its boards | nothing |
//! | [`serve`] | the shell of `pumice serve`: loop, HTTP | everything |
//! | [`script`] | what is done with a board, step by step | the run directory |
//! | [`image`] | images, and how they come into the store | files, threads, servers |
//! | [`store`] | run directories | files |
//! | [`redact`] | secrets taken out of what is told | nothing |
//! | [`report`] | what people and programs see | standard streams |
//! | [`telnet`] | Telnet and RFC 2217, to serial servers | nothing |
//! | [`worker`] | a thread that works for who must not wait | threads |
//! | [`io`] | the shell: mio, processes, serial devices, clocks | everything |

pub mod board;
pub mod bootstrap;
pub mod cli;
pub mod client;
pub mod clock;
pub mod command;
pub mod config;
pub mod definition;
pub mod deploy;
pub mod image;
pub mod io;
pub mod job;
pub mod kernel;
pub mod lab;
pub mod lava;
pub mod lava_worker;
pub mod multinode;
pub mod redact;
pub mod report;
pub mod script;
pub mod serve;
pub mod store;
pub mod telnet;
pub mod worker;
