//! A plan: everything needed to boot a guest, as plain data.

use core::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::{Bytes, GuestAddr};

/// How a kernel wants to be entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BootProtocol {
    /// Multiboot 1 (GRUB's "Multiboot Specification version 0.6.96"): 32-bit protected mode, paging off.
    Multiboot,
    /// Linux 64-bit boot protocol (kernel Documentation/arch/x86/boot.rst, "64-bit Boot Protocol"): long mode, zero page.
    Linux64,
}

/// A piece of the kernel file and where it goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// Guest-physical address of its first byte.
    pub addr: GuestAddr,
    /// Where its bytes start in the kernel file.
    pub file_offset: u64,
    /// How many bytes come from the file.
    pub file_len: u64,
    /// How many bytes it occupies in memory; what the file does not fill is zero. Never less than `file_len`.
    pub mem_len: u64,
}

/// Everything needed to boot a guest. Pure data: it names no file and no descriptor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// How the kernel is entered.
    pub boot: BootProtocol,
    /// Guest-physical address of the first instruction.
    pub entry: GuestAddr,
    /// The loadable parts of the kernel file, in file order; they do not overlap.
    pub segments: Vec<Segment>,
    /// The command line as the kernel is to see it, without a terminating NUL. Holds no NUL.
    pub command_line: Vec<u8>,
    /// Size of the guest's RAM.
    pub memory: Bytes,
    /// Length of the initrd, if there is one.
    pub initrd: Option<Bytes>,
    /// The network card, if there is one.
    pub network: Option<NetworkCard>,
    /// Directories that the guest shares, each behind a 9P server.
    #[serde(default)]
    pub shares: Vec<Share>,
    /// The disks, in the order in which the guest finds them, behind its network card.
    #[serde(default)]
    pub disks: Vec<Disk>,
    /// How much the monitor may keep of what it learns about the guest's code and page tables; `None` is as much as is of use.
    /// A limit on everything around the guest leaves only so much.
    #[serde(default)]
    pub learned_memory: Option<Bytes>,
}

/// A shared directory as its guest sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// By which the guest finds it (virtio's mount tag).
    pub tag: String,
}

/// A network card as its guest sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkCard {
    /// Its hardware address.
    pub mac: [u8; 6],
    /// The longest packet it takes, in bytes, without the Ethernet header.
    pub mtu: u16,
    /// What its frames go through.
    #[serde(default)]
    pub wire: WireKind,
    /// Where its guest finds the name server that only processes beside it could reach: the card stands in for it there.
    /// The guest's process is handed sockets for that.
    #[serde(default)]
    pub name_server: Option<Ipv4Addr>,
}

/// What the frames of a network card go through: what kind of descriptor the guest's process is handed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WireKind {
    /// A packet socket that is bound to an interface and puts a `struct virtio_net_hdr` before each frame (packet(7),
    /// `PACKET_VNET_HDR`).
    #[default]
    Packets,
    /// A tap device that does the same (`IFF_VNET_HDR`).
    Tap,
    /// A stream on which the length of each frame comes before it, four bytes, the highest first: what passt(1) speaks.
    Stream,
}

/// A disk as its guest sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// How much it holds; whole sectors of 512 bytes.
    pub size: Bytes,
    /// Whether it can only be read.
    pub read_only: bool,
}

impl Disk {
    /// How many disks a guest has at most.
    pub const MOST: usize = 8;
}
