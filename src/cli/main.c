/* main.c -- the program.  All of it is in the library, so that tests can run it too. */
#include "cli/command.h"

int main(int argc, char **argv) { return mg_main(argc, argv); }
