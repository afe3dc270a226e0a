# compile-commands.pl DIRECTORY FOLDER: prints, as a compilation database, how kbuild compiled each object below FOLDER.
# DIRECTORY is where the compiler was started. kbuild keeps the command of `x.o` in `.x.o.cmd`.
use strict;
use warnings;
use File::Find;

my ($directory, $folder) = @ARGV;

sub quoted {
    my ($text) = @_;
    $text =~ s/([\\"])/\\$1/g;
    $text =~ s/\t/ /g;
    return "\"$text\"";
}

my @entries;
find({ no_chdir => 1, wanted => sub {
    return unless m{/\.[^/]+\.o\.cmd$};
    open(my $file, '<', $_) or die "$_: $!\n";
    my $line = <$file> // '';
    close($file);
    # What follows a `;` are kbuild's own steps.
    return unless $line =~ /^(?:saved)?cmd_\S+ := ([^;]*-c -o \S+ (\S+\.c))\s*(?:;|$)/;
    push @entries, "{\"directory\": " . quoted($directory) . ", \"file\": " . quoted($2) . ", \"command\": " . quoted($1) . "}";
} }, $folder);
print "[\n", join(",\n", sort @entries), "\n]\n";
