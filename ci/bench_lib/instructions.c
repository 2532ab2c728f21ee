/*
 * Counts the instructions that a program executes in qemu-user, where its bench can read the number at any time: the first
 * eight bytes of a file.
 *
 *     gcc -O2 -fPIC -shared -o instructions.so instructions.c
 *     qemu-arm -plugin ./instructions.so,count=COUNT PROGRAM
 *
 * Debian packages QEMU's plugins, but not their header. What is declared here is what docs/devel/tcg-plugins.rst and
 * include/qemu/qemu-plugin.h of QEMU 7.2 say of version 1 of the interface; a QEMU without it refuses to load this.
 */

#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

typedef uint64_t plugin_id;
struct plugin_tb;
enum { INLINE_ADD_U64 };

extern void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, void (*)(plugin_id, struct plugin_tb *));
extern size_t qemu_plugin_tb_n_insns(const struct plugin_tb *);
extern void qemu_plugin_register_vcpu_tb_exec_inline(struct plugin_tb *, int op, void *ptr, uint64_t imm);

__attribute__((visibility("default"))) int qemu_plugin_version = 1;

/* Shared with the file; what the program forks adds to it too. */
static uint64_t *count;

/* Whole blocks count as they are entered: one that a signal ends early, or a fault, counts some too many. */
static void translated(plugin_id id, struct plugin_tb *block)
{
    (void)id;
    qemu_plugin_register_vcpu_tb_exec_inline(block, INLINE_ADD_U64, count, qemu_plugin_tb_n_insns(block));
}

__attribute__((visibility("default"))) int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv)
{
    static const char key[] = "count=";
    int file;

    (void)info;
    if (argc != 1 || strncmp(argv[0], key, sizeof key - 1))
        return -1;
    file = open(argv[0] + sizeof key - 1, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (file < 0 || ftruncate(file, sizeof *count))
        return -1;
    count = mmap(NULL, sizeof *count, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (count == MAP_FAILED)
        return -1;
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    return 0;
}
