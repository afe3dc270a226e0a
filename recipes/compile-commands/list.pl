# list.pl DIRECTORY FOLDER: prints, as a compilation database, how kbuild compiled each object below FOLDER.
# DIRECTORY is where the compiler was started. kbuild keeps the command of `x.o` in `.x.o.cmd`, and there it stays in a folder that is built
# upon, when nothing compiles `x.c` any more. So of modules from elsewhere the objects count that their lists name, and of a kernel, which has
# no such list of all that it compiles, those whose source is there.
use strict;
use warnings;
use Cwd 'abs_path';
use File::Find;

# Most of kbuild's lists have whole paths.
my ($directory, $folder) = ($ARGV[0], abs_path($ARGV[1]));

sub quoted {
    my ($text) = @_;
    $text =~ s/([\\"])/\\$1/g;
    $text =~ s/\t/ /g;
    return "\"$text\"";
}

sub lines {
    my ($path) = @_;
    open(my $file, '<', $path) or return ();
    return map { split } <$file>;
}

# A name in kbuild's lists is whole, or begins in the folder.
sub whole { return $_[0] =~ m{^/} ? $_[0] : "$folder/$_[0]" }

# Each module is known by its object or, to older kernels, by its file; `x.mod` lists what it is linked of.
my %linked;
for my $module (map { whole($_) } lines("$folder/modules.order")) {
    $module =~ s/\.k?o$//;
    $linked{$_} = 1 for "$module.o", "$module.mod.o", map { whole($_) } lines("$module.mod");
}

my @entries;
find({ no_chdir => 1, wanted => sub {
    return unless m{^(.*)/\.([^/]+\.o)\.cmd$};
    my $object = "$1/$2";
    return if !$linked{$object} && ($folder ne $directory || $object =~ /\.mod\.o$/);
    open(my $file, '<', $_) or die "$_: $!\n";
    my $line = <$file> // '';
    close($file);
    # What follows a `;` are kbuild's own steps.
    return unless $line =~ /^(?:saved)?cmd_\S+ := ([^;]*-c -o \S+ (\S+\.c))\s*(?:;|$)/;
    my ($command, $source) = ($1, $2);
    return unless -e ($source =~ m{^/} ? $source : "$directory/$source");
    push @entries, "{\"directory\": " . quoted($directory) . ", \"file\": " . quoted($source) . ", \"command\": " . quoted($command) . "}";
} }, $folder);
print "[\n", join(",\n", sort @entries), "\n]\n";
