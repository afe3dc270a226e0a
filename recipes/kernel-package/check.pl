# check.pl CONFIG LINES: whether a kernel that nobody here configured has what a guest of quiz cannot do without, and what profiles and the user
# ask for. A driver may be built in or a module.
use strict;
use warnings;

# Each with what it is for.
my %needed = (
    BLK_DEV_INITRD => 'drivers that are modules',
    DEVTMPFS => '/dev', OVERLAY_FS => 'the root of layers', PRINTK => 'how the guest ended', SQUASHFS => 'the layers', SQUASHFS_LZ4 => 'the layers',
    VIRTIO_BLK => 'the layers', VIRTIO_CONSOLE => 'the program', VIRTIO_PCI => 'all devices',
);

my ($path, $lines) = @ARGV;
my %have;
open(my $config, '<', $path) or die "error: the package has no config: $path: $!\n";
while (<$config>) {
    $have{$1} = $2 if /^CONFIG_(\w+)=(.*)$/;
}
sub value { return $have{$_[0]} // 'n' }
sub has {
    my ($symbol, $wanted) = @_;
    my $is = value($symbol);
    return $wanted =~ /^[ym]$/ ? $is =~ /^[ym]$/ : $is eq $wanted;
}

my @wrong = map { "CONFIG_$_, without which a guest of quiz cannot start ($needed{$_})" } grep { !has($_, 'y') } sort keys %needed;
# The guest does without 9P; that it knows 9P, and no way to the host, it would find out too late.
push @wrong, 'CONFIG_NET_9P_VIRTIO, and 9P' if has('9P_FS', 'y') && !has('NET_9P_VIRTIO', 'y');
push @wrong, 'CONFIG_MODULE_DECOMPRESS, and its modules are compressed'
    if !has('MODULE_DECOMPRESS', 'y') && grep { has("MODULE_COMPRESS_$_", 'y') } qw(GZIP XZ ZSTD);

# Of two lines about one symbol the later one counts.
my %asked;
open(my $file, '<', $lines) or die "error: $lines: $!\n";
while (<$file>) {
    chomp;
    next if /# if present$/;
    s/^\s+|\s+$//g;
    s/^# *(?:CONFIG_)?(\w+) is not set$/$1=n/;
    my @any = map { [/^(?:CONFIG_)?(\w+)=(.*)$/] } split(/ or /);
    next if grep { !@$_ } @any or !@any;
    $asked{$any[0][0]} = [$_, \@any];
}
# In one line: a profile asks for a dozen of them, and what to do is the same for all.
my @other;
for my $symbol (sort keys %asked) {
    my ($line, $any) = @{$asked{$symbol}};
    my $is = value($symbol);
    push @other, $line . ($is eq 'n' ? '' : " (is $is)") unless grep { has(@$_) } @$any;
}
exit 0 unless @wrong || @other;
print STDERR "error: this kernel, which the distribution compiled, has no $_\n" for @wrong;
print STDERR "error: this kernel, which the distribution compiled, is not as profiles or settings ask for: ", join(', ', @other), "\n" if @other;
print STDERR "error: take one that is compiled here: kernel.source = \"\", and a kernel.version (-k, or in quiz.toml) without `package`\n";
exit 1;
