# initrd.pl AGENT MODULE...: prints an archive of which the kernel makes its first root (cpio, the form "newc": the kernel's
# Documentation/driver-api/early-userspace/buffer-format.rst). recipes/agent/initrd.c reads it. The same files give the same bytes.
use strict;
use warnings;

my ($agent, @modules) = @ARGV;
my $number = 0;

sub contents {
    my ($path) = @_;
    open(my $file, '<:raw', $path) or die "$path: $!\n";
    local $/;
    return scalar <$file>;
}

sub padded {
    my ($text) = @_;
    return $text . "\0" x (-length($text) % 4);
}

# entry NAME, MODE, CONTENTS, of a device MAJOR and MINOR. All of time 0 and of root.
sub entry {
    my ($name, $mode, $data, $major, $minor) = @_;
    my @fields = ($number++, $mode, 0, 0, 1, 0, length($data), 0, 0, $major // 0, $minor // 0, length($name) + 1, 0);
    print padded('070701' . join('', map { sprintf('%08x', $_) } @fields) . "$name\0"), padded($data);
}

binmode(STDOUT);
entry($_, 0040755, '') for qw(dev root modules);
# What the agent says before there is a /dev of the kernel's.
entry('dev/console', 0020600, '', 5, 1);
entry('init', 0100755, contents($agent));
my @names = map { m{([^/]+)$} } @modules;
entry("modules/$names[$_]", 0100644, contents($modules[$_])) for 0 .. $#modules;
entry('modules/order', 0100644, join('', map { "$_\n" } @names));
entry('TRAILER!!!', 0, '');
