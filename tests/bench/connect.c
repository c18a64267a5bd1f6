/* Times TCP connects: connect ADDRESS PORT COUNT INTERVAL_MS; a line each, in nanoseconds of the monotonic clock. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    struct sockaddr_in peer = {.sin_family = AF_INET};
    struct linger reset = {.l_onoff = 1, .l_linger = 0};
    struct timespec before, after;

    if (argc != 5 || inet_pton(AF_INET, argv[1], &peer.sin_addr) != 1)
        return 2;
    peer.sin_port = htons(atoi(argv[2]));
    for (int turn = 0; turn < atoi(argv[3]); turn++) {
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
        clock_gettime(CLOCK_MONOTONIC, &before);
        if (connect(fd, (struct sockaddr *)&peer, sizeof peer) != 0)
            return 1;
        clock_gettime(CLOCK_MONOTONIC, &after);
        close(fd);
        printf("%ld\n", (after.tv_sec - before.tv_sec) * 1000000000L + after.tv_nsec - before.tv_nsec);
        usleep(atoi(argv[4]) * 1000);
    }
    return 0;
}
