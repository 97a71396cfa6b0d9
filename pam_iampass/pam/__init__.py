"""PAM files as libpam reads them, the simulation of a stack, and real runs of a stack in a process of its own."""
