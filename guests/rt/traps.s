# One stub per vector: make every frame look alike (vector, error code), save what Rust code may change, call
# `dispatch`.

    .text
    .balign 16
    .globl trap_stubs
trap_stubs:
    .set vector, 0
    .rept 256
    .balign 16
    # The vectors that push an error code themselves (Intel SDM vol. 3, table 6-1; AMD APM vol. 2, table 8-1).
    .set pushes_error, 0
    .irp other, 8, 10, 11, 12, 13, 14, 17, 21, 29, 30
    .if vector == \other
    .set pushes_error, 1
    .endif
    .endr
    .if pushes_error == 0
    push 0
    .endif
    push vector
    jmp trap_common
    .set vector, vector + 1
    .endr

trap_common:
    push rax
    push rcx
    push rdx
    push rbx
    push rbp
    push rsi
    push rdi
    push r8
    push r9
    push r10
    push r11
    push r12
    push r13
    push r14
    push r15
    cld
    mov rdi, rsp
    mov rbx, rsp
    sub rsp, 512
    and rsp, -16
    fxsave64 [rsp]
    call dispatch
    fxrstor64 [rsp]
    mov rsp, rbx
    pop r15
    pop r14
    pop r13
    pop r12
    pop r11
    pop r10
    pop r9
    pop r8
    pop rdi
    pop rsi
    pop rbp
    pop rbx
    pop rdx
    pop rcx
    pop rax
    add rsp, 16
    iretq
