# Both ways into a guest, and the page tables it starts with.
#
# They do what Unikraft 0.16.3 does (plat/kvm/x86/{multiboot,lxboot,lcpu_start,pagetable64}.S): the page
# tables lie inside .text, so the processor writes accessed bits there; the far jump into 64-bit mode is
# patched before it is taken; the Linux entry loads its page tables before its segments.

# Multiboot 1 (specification 0.6.96, section 3.2): 32-bit protected mode, paging off, EAX the magic, EBX the
# information.
    .section .text.entry32, "ax"
    .code32
    .globl entry_multiboot
entry_multiboot:
    cmp eax, 0x2badb002
    jne halt32
    mov esi, ebx
    xor edi, edi                    # Kind::Multiboot
    mov eax, 0x20                   # CR4.PAE
    mov cr4, eax
    mov ecx, 0xc0000080             # EFER
    rdmsr
    or eax, 0x100                   # LME
    wrmsr
    mov eax, offset boot_pml4
    mov cr3, eax
    mov eax, 0x80010001             # CR0: PG, WP, PE
    mov cr0, eax
    lgdt [boot_gdt_pointer]
    mov dword ptr [far_jump + 1], offset long_mode
far_jump:
    .byte 0xea                      # ljmp 8:long_mode, its offset filled in by the line above
    .long 0
    .word 8
halt32:
    cli
    hlt
    jmp halt32

# Linux 64-bit boot protocol (Documentation/arch/x86/boot.rst, "64-bit Boot Protocol"): RSI is the zero page.
    .section .text.entry64, "ax"
    .code64
    .globl entry_linux64
entry_linux64:
    cmp dword ptr [rsi + 0x202], 0x53726448     # "HdrS"
    jne halt64
    mov edi, 1                      # Kind::Linux64
    mov eax, offset boot_pml4
    mov cr3, rax
    lgdt [boot_gdt_pointer]
    mov esp, offset boot_stack_top
    push 8
    push offset long_mode
    retfq
halt64:
    cli
    hlt
    jmp halt64

# 64-bit code, flat segments, own page tables: EDI the kind, ESI the information. Rust code may use SSE at once.
long_mode:
    mov eax, 0x10
    mov ds, eax
    mov es, eax
    mov ss, eax
    xor eax, eax
    mov fs, eax
    mov gs, eax
    mov esp, offset boot_stack_top
    mov rax, cr0
    and eax, ~0xc                   # not EM, not TS
    or eax, 0x10022                 # WP, NE, MP
    mov cr0, rax
    fninit
    mov rax, cr4
    or eax, 0x600                   # OSFXSR, OSXMMEXCPT
    mov cr4, rax
    push 0x1f80                     # all SSE exceptions masked, round to nearest
    ldmxcsr [rsp]
    pop rax
    mov edi, edi
    mov esi, esi
    xor ebp, ebp
    call start
    ud2

    .section .data.first, "aw"
    .balign 8
boot_gdt:
    .quad 0
    .quad 0x00af9b000000ffff        # 0x08: code, 64-bit
    .quad 0x00cf93000000ffff        # 0x10: data
boot_gdt_pointer:
    .word . - boot_gdt - 1
    .quad boot_gdt

    .section .bss.stack, "aw", @nobits
    .balign 16
    .globl boot_stack
boot_stack:
    .skip 0x20000
    .globl boot_stack_top
boot_stack_top:

# An identity map of 4 GiB in 2 MiB pages. The first 2 MiB are in 4 KiB pages, so that page 0 can be absent.
    .section .text.tables, "ax"
    .balign 0x1000
    .globl boot_pml4
boot_pml4:
    .quad boot_pdpt + 3
    .zero 511 * 8
boot_pdpt:
    .quad boot_pd + 0x0003
    .quad boot_pd + 0x1003
    .quad boot_pd + 0x2003
    .quad boot_pd + 0x3003
    .zero 508 * 8
boot_pd:
    .quad boot_pt + 3
    .set page, 0x200083             # large, writable, present
    .rept 2047
    .quad page
    .set page, page + 0x200000
    .endr
boot_pt:
    .quad 0
    .set page, 0x1003               # writable, present
    .rept 511
    .quad page
    .set page, page + 0x1000
    .endr
