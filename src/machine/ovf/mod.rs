//! OVF: machines as XML (DSP0243 version 1.1 of the DMTF, which VMware and VirtualBox write and read).
//!
//! ```text
//!   Envelope
//!   ├── References      File  id=file1, its name and size
//!   ├── DiskSection     Disk  diskId=vmdisk1, fileRef=file1, capacity
//!   ├── NetworkSection  Network
//!   └── VirtualSystem
//!       ├── ProductSection           properties (VMware)
//!       ├── OperatingSystemSection
//!       ├── VirtualHardwareSection   System, Item …: processors, memory, controllers, disk, network
//!       └── vbox:Machine             the same in VirtualBox' own words
//! ```

mod sections;
mod virtualbox;
mod vmware;

pub(super) use virtualbox::{mac as virtualbox_mac, text as virtualbox};
pub(super) use vmware::text as vmware;
