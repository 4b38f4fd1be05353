/* Asks the C library for the addresses of names. Written for glibc and musl alike. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define FOUND_MAX 256

static int by_text(const void *a, const void *b)
{
    return strcmp(a, b);
}

int main(int count, char **names)
{
    static char found[FOUND_MAX][INET6_ADDRSTRLEN];
    for (int i = 1; i < count; i++) {
        struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *all;
        int n = 0, problem = getaddrinfo(names[i], NULL, &hints, &all);
        printf("host:%s", names[i]);
        if (problem) {
            printf(" -(%s)\n", gai_strerror(problem));
            continue;
        }
        for (struct addrinfo *one = all; one && n < FOUND_MAX; one = one->ai_next)
            getnameinfo(one->ai_addr, one->ai_addrlen, found[n++], sizeof found[0], NULL, 0, NI_NUMERICHOST);
        freeaddrinfo(all);
        qsort(found, n, sizeof found[0], by_text);
        if (n > 10)
            printf(" %d", n);
        for (int at = 0; at < n && n <= 10; at++)
            printf(" %s", found[at]);
        putchar('\n');
    }
    return 0;
}
