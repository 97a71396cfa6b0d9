"""The Debian packages on a virtual machine: a kernel of its own, SELinux enforcing, a disk, and power that can fail."""
