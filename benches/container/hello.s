# The container that runu is compared with: as little as a program can be. It says hello and ends; with an argument it
# says `ready` and ends when its standard input does. Linked without any library.

    .globl _start
_start:
    cmpq $1, (%rsp)                 # argc (System V ABI for x86-64, section 3.4.1)
    jne wait
    lea hello(%rip), %rsi
    mov $hello_len, %edx
    call write
end:
    mov $231, %eax                  # exit_group(0)
    xor %edi, %edi
    syscall

wait:
    lea ready(%rip), %rsi
    mov $ready_len, %edx
    call write
    sub $8, %rsp
    xor %edi, %edi
    mov %rsp, %rsi
    mov $1, %edx
    xor %eax, %eax                  # read(0, stack, 1)
    syscall
    jmp end

write:
    mov $1, %eax                    # write(1, …)
    mov $1, %edi
    syscall
    ret

    .section .rodata
hello:
    .ascii "Hello from a container\n"
    .set hello_len, . - hello
ready:
    .ascii "ready\n"
    .set ready_len, . - ready

    .section .note.GNU-stack, "", @progbits
