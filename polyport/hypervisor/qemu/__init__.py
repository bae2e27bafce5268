"""The QEMU driver: one QEMU process per guest, spoken to by QMP, in the server's own directory.

slots    slot number -> PCI place (pure)
command  Guest -> argument list (pure)
kvm      whether KVM really works here
process  the process: started, found again, ended
qmp      the connection to one QEMU
record   guest.json: what a guest was started with
console  the console log: its tail, and its size kept in bounds
guest    one running guest: its NICs, paused or not
driver   all of them: the `Hypervisor` protocol
"""
