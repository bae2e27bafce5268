# Whether a CPU is really there: a ROM which ends the machine with status 85 once 64-bit code with paging has run.
#
# A KVM can open, pass its ioctls and run real-mode code and yet never get a guest any further (seen with KVM inside a
# machine that is itself virtual). So this goes the whole way a Linux guest goes: real mode, 32-bit protected mode, page
# tables, long mode; then a loop long enough to tell a CPU from a trap per instruction, and CPUID, which always traps.
#
# The 64 KiB ROM ends at the 4 GiB line and is also seen at 0xf0000. `kvm.py` holds the bytes of the code; the test
# tests/unit/test_kvm_probe.py assembles this file and compares:
#     as --64 probe.S -o probe.o && ld -e 0 -Ttext 0 --oformat binary probe.o -o probe.rom
#
# Sources: Intel SDM volume 3, "Mode Switching" and "Initializing IA-32e Mode"; QEMU's isa-debug-exit device, which ends
# QEMU with status (value << 1) | 1.

        .set    ROM, 0xf0000
        .set    EXIT_PORT, 0xf4
        .set    EXIT_VALUE, 0x2a                # (0x2a << 1) | 1 = 85
        .set    STACK, 0x7000
        .set    PML4, 0x1000
        .set    PDPT, 0x2000
        .set    PD, 0x3000
        .set    TABLES_LONGS, 0xc00             # three tables of 4 KiB
        .set    SCRATCH, 0x8000
        .set    ROUNDS, 20000000
        .set    EFER, 0xc0000080

        .code16
start16:
        cli
        movw    %cs, %ax
        movw    %ax, %ds
        lgdtl   gdt_pointer
        movl    %cr0, %eax
        orl     $1, %eax                        # CR0.PE
        movl    %eax, %cr0
        ljmpl   $8, $(ROM + start32)

        .code32
start32:
        movw    $0x10, %ax
        movw    %ax, %ds
        movw    %ax, %es
        movw    %ax, %ss
        movl    $STACK, %esp
        cld
        movl    $PML4, %edi
        xorl    %eax, %eax
        movl    $TABLES_LONGS, %ecx
        rep stosl
        movl    $(PDPT + 3), PML4               # present, writable
        movl    $(PD + 3), PDPT
        movl    $PD, %edi                       # the first GiB, one to one, in pages of 2 MiB
        movl    $0x83, %eax
        movl    $8, %ecx
map:    movl    %eax, (%edi)
        addl    $0x200000, %eax
        addl    $8, %edi
        loop    map
        movl    %cr4, %eax
        orl     $0x20, %eax                     # CR4.PAE
        movl    %eax, %cr4
        movl    $PML4, %eax
        movl    %eax, %cr3
        movl    $EFER, %ecx
        rdmsr
        orl     $0x100, %eax                    # EFER.LME
        wrmsr
        movl    %cr0, %eax
        orl     $0x80000000, %eax               # CR0.PG
        movl    %eax, %cr0
        ljmpl   $0x18, $(ROM + start64)

        .code64
start64:
        movl    $ROUNDS, %ecx
        movl    $SCRATCH, %ebx
        xorl    %eax, %eax
round:  addl    $3, %eax
        movl    %eax, (%rbx)
        decl    %ecx
        jnz     round
        xorl    %eax, %eax
        cpuid
        movw    $EXIT_PORT, %dx
        movb    $EXIT_VALUE, %al
        outb    %al, %dx
halt:   hlt
        jmp     halt

        .balign 8
gdt:    .quad   0
        .quad   0x00cf9a000000ffff              # 08: 32-bit code
        .quad   0x00cf92000000ffff              # 10: data
        .quad   0x00af9a000000ffff              # 18: 64-bit code
gdt_pointer:
        .word   31
        .long   ROM + gdt

        .org    0xfff0                          # where a CPU starts
        .code16
        ljmpw   $0xf000, $start16
        .org    0x10000
