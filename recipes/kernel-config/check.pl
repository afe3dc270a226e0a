#!/usr/bin/perl
# Compares what was asked of Kconfig with what came out, and says of everything that was dropped or changed why.
#
#     check.pl SOURCE .CONFIG lines|whole FILE LEFT-OUT LINES BASE...
#
# Later lines override earlier ones: those of BASE (quiz's own, see base.config), of the user's FILE (`-` for none), and LINES,
# the wishes of profiles and user. These have to come true. Of quiz's own only what the guest needs to start has to, unless
# the user took it out, which is a warning. A `whole` FILE is a .config that Kconfig wrote, for another kernel perhaps: what
# is different of it is counted, and named in the log; LEFT-OUT has lines that were taken out of it on purpose.
#
# For its reasons it reads the Kconfig tree itself, as far as dependencies need it: Kconfig has no way to ask. It knows menus,
# ifs, choices, selects and prompts; it does not run $(shell ...) tests.

use strict;
use warnings;

my ($source, $config, $kind, $file, $left_out, $lines, @base) = @ARGV;
my $ARCH = $ENV{ARCH} // die "check.pl: ARCH is not set\n";
my %SRCARCH = (x86_64 => 'x86', i386 => 'x86', sparc64 => 'sparc', parisc64 => 'parisc');
my %VALUE = (n => 0, m => 1, y => 2);
my @NAME = ('n', 'm', 'y');

my %value;      # symbol → what .config says
my %symbol;     # symbol → { type, defs: [{ deps: [expr], prompt: [expr] | undef, defaults: [expr], choice }] }
my %selects;    # symbol → [[by whom, condition]]

read_config($config);
read_kconfig('Kconfig', []);

my @problems;
my @whole;      # the lines of a whole .config
my %wishes;     # symbol → the last wish of a user's line for it
if ($file ne '-') {
    my @own = read_lines($file, $file);
    push @problems, "$file: there is no line of kernel config in it" unless @own || @problems;
    add_wishes(@own) if $kind eq 'lines';
    @whole = @own if $kind eq 'whole';
}
add_wishes(read_lines($lines, 'kernel.config'));
push @problems, map { problem($_) } grep { !granted($_) } sort { $a->{order} <=> $b->{order} } values %wishes;
my @own = map { read_base($_) } @base;
look_at_base($_) for @own;
compare_whole(@whole) if @whole;
if (@problems) {
    print STDERR "error: the kernel config is not what was asked for\n";
    print STDERR "  $_\n" for @problems;
    print STDERR "  a whole .config is given as kernel.config-file\n" if @problems > 30;
    exit 1;
}

# ---- what was asked for ----------------------------------------------------------------------------------------------

sub read_config {
    my ($path) = @_;
    open my $file, '<', $path or die "$path: $!\n";
    while (<$file>) {
        $value{$1} = $2 if /^CONFIG_(\w+)=(.*)$/;
    }
}

# The alternatives of one line, each a symbol and its value; undef if it is no line of kernel config.
sub alternatives {
    my ($line) = @_;
    return [[$1, 'n']] if $line =~ /^#\s*(?:CONFIG_)?(\w+) is not set$/;
    my @all = map { /^(?:CONFIG_)?(\w+)=(.*)$/ ? [$1, $2] : undef } split / or (?=CONFIG_)/, $line;
    return @all && !(grep { !$_ } @all) ? \@all : undef;
}

# The wishes in a file of a user's: what is no wish is a problem.
sub read_lines {
    my ($path, $name) = @_;
    my @wishes;
    open my $file, '<', $path or die "$path: $!\n";
    while (my $line = <$file>) {
        $line =~ s/^\s+|\s+$//g;
        my $optional = $line =~ s/\s*# if present$//;
        my $where = $name =~ m{/} ? "$name:$." : $name;
        my $all = alternatives($line);
        if ($all) {
            push @wishes, { alternatives => $all, where => $where, user => 1, optional => $optional };
        } elsif ($line ne '' and $line !~ /^#/) {
            push @problems, "$where: '" . substr($line, 0, 60) . "' is not a line of kernel config; write FOO=y";
            # One line says that it is another kind of file.
            last if $name =~ m{/};
        }
    }
    return @wishes;
}

sub read_base {
    my ($path) = @_;
    my @wishes;
    open my $file, '<', $path or die "$path: $!\n";
    while (my $line = <$file>) {
        my ($wish, $class, $for) = $line =~ /^(CONFIG_.*?)\s+# (?:(needed|menu): )?(.*)$/ or next;
        my $where = ($path =~ s{.*/}{}r) . ":$.";
        my $needed = ($class // '') eq 'needed';
        push @wishes, { alternatives => alternatives($wish), where => $where, needed => $needed, for => $for };
    }
    return @wishes;
}

sub add_wishes {
    for my $wish (@_) {
        # Whoever pastes a .config pastes these.
        next if @{ $wish->{alternatives} } == 1 && of_tools($wish->{alternatives}[0][0]);
        $wish->{order} = keys(%wishes);
        $wishes{ $wish->{alternatives}[0][0] } = $wish;
    }
}

# A symbol that says what compiler, linker and the like were there: Kconfig finds that out itself each time.
sub of_tools {
    my ($name) = @_;
    my $known = $symbol{$name};
    return 0 if $known && grep { $_->{prompt} } @{ $known->{defs} };
    return $name =~ /^(CC|GCC|CLANG|AS|LD|LLD|PAHOLE|RUSTC?|BINDGEN|TOOLS)_/ ? 1 : 0;
}

# What a whole .config had that this kernel has not, or not so. What Kconfig derives by itself is no wish, nor is what quiz's
# own lines, profiles and user have the last word on.
sub compare_whole {
    my %left = map { $_->{alternatives}[0][0] => 1 } read_lines($left_out, 'left out');
    my %decided = map { $_->{alternatives}[0][0] => 1 } values %wishes, grep { $_->{needed} } @own;
    my (@gone, @other, @set);
    for my $wish (@_) {
        my ($name, $asked) = @{ $wish->{alternatives}[0] };
        my $known = $symbol{$name};
        # A module that something else made a part of the kernel is there.
        $wish->{user} = 0;
        if ($decided{$name}) {
            next;
        } elsif ($left{$name}) {
            push @set, $name if $asked !~ /^(n|"")$/ && now($name) ne $asked;
        } elsif (!$known) {
            push @gone, "CONFIG_$name=$asked" if $asked ne 'n' && !of_tools($name);
        } elsif ((grep { $_->{prompt} } @{ $known->{defs} }) && !granted($wish)) {
            push @other, "CONFIG_$name=$asked (is " . now($name) . ')';
        }
    }
    print "$file: not in this kernel: $_\n" for @gone;
    print "$file: came out different: $_\n" for @other;
    print "warning: $file: ", scalar(@gone), ' lines are not known to this kernel, and ', scalar(@other),
        " came out different; the log names each\n" if @gone || @other;
    print 'warning: ', join(', ', @set), " left out: they need what only the distribution's own build has",
        " (keys, pahole); name them in kernel.config if you have it\n" if @set;
}

sub now { return $value{ $_[0] } // 'n' }

sub granted {
    my ($wish) = @_;
    return scalar grep { is_true($wish, @$_) } @{ $wish->{alternatives} };
}

sub is_true {
    my ($wish, $name, $asked) = @_;
    my $known = $symbol{$name};
    return $wish->{optional} || (!$wish->{user} && $asked eq 'n') unless $known;
    my $now = now($name);
    return 1 if $asked eq $now;
    # The base is content with more than a module: without MODULES there are none.
    return 1 if !$wish->{user} && $asked eq 'm' && $now eq 'y';
    return 0 if ($known->{type} // '') !~ /^(int|hex)$/;
    return is_number($asked) && is_number($now) && number($asked) == number($now);
}

sub is_number { return $_[0] =~ /^(0x[[:xdigit:]]+|-?\d+)$/ }

sub number { return $_[0] =~ /^0x/ ? hex $_[0] : $_[0] }

# One of quiz's own lines: what came of it matters only where the guest cannot do without it.
sub look_at_base {
    my ($wish) = @_;
    return if granted($wish);
    my ($name, $asked) = @{ $wish->{alternatives}[0] };
    if (!$wish->{needed}) {
        return if $kind eq 'whole';
        print "$wish->{where}: left out: CONFIG_$name=$asked ($wish->{for})\n";
    } elsif (is_taken_out($name)) {
        print "warning: CONFIG_$name=$asked was taken out, and without it the guest will not start: $wish->{for}\n";
    } else {
        push @problems, problem($wish) . "; the guest needs it: $wish->{for}";
    }
}

# By a line of the user's, or because something that it depends on, over however many steps, was turned off by one.
sub is_taken_out {
    my ($name) = @_;
    return 1 if $wishes{$name};
    return 0 unless $symbol{$name};
    return scalar grep { is_turned_off($_, 0) } map { names($_) } unmet($name, 'y');
}

sub is_turned_off {
    my ($name, $depth) = @_;
    my $wish = $wishes{$name};
    return granted($wish) if $wish;
    return 0 if $depth > 5 or now($name) ne 'n';
    my @needs = (unmet($name, 'y'), map { @{ $_->{deps} }, @{ $_->{defaults} // [] } } @{ $symbol{$name}{defs} });
    return scalar grep { is_turned_off($_, $depth + 1) } map { names($_) } @needs;
}

# ---- why it came out different ---------------------------------------------------------------------------------------

sub problem {
    my ($wish) = @_;
    my ($name, $asked) = @{ $wish->{alternatives}[0] };
    my $known = $symbol{$name};
    return "$wish->{where}: CONFIG_$name is not a symbol of this kernel" . had_it($name) . near($name)
        unless $known;

    my $now = now($name);
    my $came = $now eq 'n' ? 'not set' : $now;
    my $text = "$wish->{where}: CONFIG_$name=$asked was asked for and came out $came";
    my $type = $known->{type} // 'bool';
    return "$text: it is a string, write it in quotes" if $type eq 'string' && $asked !~ /^".*"$/;
    return "$text: it is a number" if $type =~ /^(int|hex)$/ && !is_number($asked);
    return "$text: it is a bool, y or n" if $type eq 'bool' && $asked !~ /^[yn]$/;
    return "$text: it is a tristate, y, m or n" if $type eq 'tristate' && $asked !~ /^[ymn]$/;

    if ($type =~ /^(bool|tristate)$/ && $VALUE{$asked} < ($VALUE{$now} // 0)) {
        my @by = grep { evaluate($_->[1]) > 0 && $VALUE{ now($_->[0]) } } @{ $selects{$name} // [] };
        return "$text: selected by " . join ', ', map { "$_->[0] (" . now($_->[0]) . ')' } @by if @by;
    }
    my @unmet = unmet($name, $asked);
    return "$text: needs " . join ' && ', map { render($_, @unmet > 1) } @unmet if @unmet;
    unless (grep { $_->{prompt} } @{ $known->{defs} }) {
        my @by = map { $_->[0] } @{ $selects{$name} // [] };
        return "$text: it has no prompt, only other symbols set it" . (@by ? ': ' . few(@by) : '');
    }
    for my $def (@{ $known->{defs} }) {
        my ($taken) = $def->{choice} ? grep { now($_) eq 'y' } @{ $def->{choice}{members} } : ();
        return "$text: the choice that it belongs to fell on $taken" if $taken && $taken ne $name;
    }
    return $text;
}

# What has to be true, and is not, for the wish to come true: the conjuncts of the definition that lacks the fewest.
sub unmet {
    my ($name, $asked) = @_;
    my $want = $VALUE{$asked} // 2;
    return () if $want == 0;
    my $best;
    my @defs = @{ $symbol{$name}{defs} };
    my @prompted = grep { $_->{prompt} } @defs;
    for my $def (@prompted ? @prompted : @defs) {
        my %seen;
        my @lacking = grep { evaluate($_) < $want && !$seen{ render($_) }++ }
            map { conjuncts($_) } @{ $def->{deps} }, @{ $def->{prompt} // [] };
        # A module can depend on modules: m is enough unless y was asked for; a bool is content with m.
        @lacking = grep { evaluate($_) == 0 } @lacking if ($symbol{$name}{type} // '') ne 'tristate';
        $best = \@lacking if !$best || @lacking < @$best;
    }
    return @{ $best // [] };
}

sub few { return join(', ', @_ > 8 ? (@_[0 .. 7], '…') : @_) }

# The releases that have a symbol which this kernel does not have, as far as the list beside this script knows.
sub had_it {
    my ($name) = @_;
    my $path = $0 =~ s{[^/]*$}{releases}r;
    open my $file, '<', $path or die "$path: $!\n";
    while (<$file>) {
        my ($first, $last, @names) = split;
        next unless grep { $_ eq $name } @names;
        return $first eq $last ? "; of the releases looked at only Linux $first has it" : "; Linux $first to $last have it";
    }
    return '';
}

# Names that differ in one or two letters, or that contain the name.
sub near {
    my ($name) = @_;
    my %distance;
    for my $other (keys %symbol) {
        my $difference = abs(length($other) - length $name);
        if ($difference <= 2) {
            my $steps = distance($name, $other);
            $distance{$other} = $steps if $steps <= (length $name < 6 ? 1 : 2);
        } elsif (length $name >= 5 && $difference <= 8 && index($other, $name) >= 0) {
            $distance{$other} = 3 + $difference;
        }
    }
    my @names = sort { $distance{$a} <=> $distance{$b} || $a cmp $b } keys %distance;
    return @names ? '; near it: ' . few(@names) : '';
}

sub distance {
    my @a = split //, $_[0];
    my @b = split //, $_[1];
    my @row = (0 .. @b);
    for my $i (1 .. @a) {
        my @next = ($i);
        for my $j (1 .. @b) {
            my $least = $row[ $j - 1 ] + ($a[ $i - 1 ] ne $b[ $j - 1 ]);
            for my $step ($row[$j] + 1, $next[ $j - 1 ] + 1) { $least = $step if $step < $least }
            push @next, $least;
        }
        @row = @next;
    }
    return $row[-1];
}

# ---- the Kconfig tree ------------------------------------------------------------------------------------------------

# Reads one file and what it sources, below the dependencies of the place that sources it.
sub read_kconfig {
    my ($path, $outer) = @_;
    my @levels = ({ deps => $outer, visible => [] });
    my ($def, $help_indent);
    for my $line (logical_lines("$source/$path")) {
        if (defined $help_indent) {
            next if $line =~ /^\s*$/;
            my $indent = length(($line =~ /^(\s*)/)[0] =~ s/\t/        /gr);
            $help_indent = $indent if $help_indent < 0;
            next if $indent >= $help_indent && $indent > 0;
            undef $help_indent;
        }
        $line =~ s/^\s+|\s+$//g;
        next if $line eq '' or $line =~ /^#/;
        my ($word, $rest) = $line =~ /^(\w+)\s*(.*)$/ or next;
        my $level = $levels[-1];

        if ($word =~ /^(menu)?config$/) {
            $def = { deps => [ @{ $level->{deps} } ], visible => $level->{visible}, choice => $level->{choice} };
            $def->{name} = $rest;
            push @{ $symbol{$rest}{defs} }, $def;
            push @{ $level->{choice}{members} }, $rest if $level->{choice};
        } elsif ($word =~ /^(menu|choice|if|comment)$/) {
            my $choice = $word eq 'choice' ? { members => [] } : $level->{choice};
            my $new = { deps => [ @{ $level->{deps} } ], visible => [ @{ $level->{visible} } ], choice => $choice };
            push @{ $new->{deps} }, parse(uncomment($rest)) if $word eq 'if';
            push @levels, $new unless $word eq 'comment';
            $def = $new;
        } elsif ($word =~ /^end(menu|choice|if)$/) {
            pop @levels;
            $def = undef;
        } elsif ($word =~ /^[ro]?source$/) {
            my $file = $rest =~ s/"//gr;
            $file =~ s/\$\(SRCARCH\)|\$SRCARCH/$SRCARCH{$ARCH} || $ARCH/e;
            $file =~ s/\$\(HEADER_ARCH\)|\$\(srctree\)\///g;
            read_kconfig($file, $level->{deps}) if -e "$source/$file";
        } elsif ($word eq 'help') {
            $help_indent = -1;
        } elsif ($def) {
            attribute($def, $word, $rest);
        }
    }
}

sub attribute {
    my ($def, $word, $rest) = @_;
    $rest = uncomment($rest);
    my $condition = $rest =~ s/\bif\b(?=[^"]*$)(.*)$// && $word ne 'depends' ? parse($1) : ['value', 'y'];
    if ($word eq 'depends' && $rest =~ /^on\s+(.*)$/) {
        push @{ $def->{deps} }, parse($1);
    } elsif ($word eq 'visible' ) {
        push @{ $def->{visible} }, $condition;
    } elsif (defined $def->{name}) {
        my $name = $def->{name};
        if ($word =~ /^(def_)?(bool|tristate|string|int|hex)$/) {
            my ($default, $type) = ($1, $2);
            $symbol{$name}{type} //= $type;
            push @{ $def->{defaults} }, parse($rest), $condition if $default;
            $def->{prompt} = [ $condition, @{ $def->{visible} } ] if !$default && $rest =~ /^["']/;
        } elsif ($word eq 'prompt') {
            $def->{prompt} = [ $condition, @{ $def->{visible} } ];
        } elsif ($word eq 'default') {
            push @{ $def->{defaults} }, parse($rest), $condition;
        } elsif ($word eq 'select') {
            push @{ $selects{ $rest =~ s/\s+$//r } }, [ $name, $condition ];
        }
    }
}

# The lines of a file, those that end in a backslash joined with the next.
sub logical_lines {
    my ($path) = @_;
    open my $file, '<', $path or die "$path: $!\n";
    local $/;
    my $text = <$file>;
    $text =~ s/\\\n/ /g;
    return split /\n/, $text;
}

sub uncomment { return $_[0] =~ s/^((?:[^"'#]|"[^"]*"|'[^']*')*)#.*$/$1/r }

# ---- expressions: [and|or, a, b] [not, a] [compare, op, a, b] [value, word] -----------------------------------------

sub parse {
    my @tokens;
    my $text = shift;
    my $operator = qr/&&|\|\||!=|<=|>=|[!=<>()]/;
    my $quoted = qr/"[^"]*"|'[^']*'/;
    my $macro = qr/\$(\((?:[^()]|(?-1))*\))/;
    while ($text =~ /\G\s*(?:($operator)|($quoted)|((?:$macro|[\w.\/-])+))/gc) {
        push @tokens, $1 // $2 // $3;
    }
    return @tokens ? parse_or(\@tokens) : ['value', 'y'];
}

sub parse_or {
    my ($tokens) = @_;
    my $left = parse_and($tokens);
    while (@$tokens && $tokens->[0] eq '||') { shift @$tokens; $left = ['or', $left, parse_and($tokens)] }
    return $left;
}

sub parse_and {
    my ($tokens) = @_;
    my $left = parse_term($tokens);
    while (@$tokens && $tokens->[0] eq '&&') { shift @$tokens; $left = ['and', $left, parse_term($tokens)] }
    return $left;
}

sub parse_term {
    my ($tokens) = @_;
    my $token = shift @$tokens // 'n';
    return ['not', parse_term($tokens)] if $token eq '!';
    if ($token eq '(') {
        my $inner = parse_or($tokens);
        shift @$tokens;
        return $inner;
    }
    return ['compare', shift @$tokens, $token, shift @$tokens] if @$tokens && $tokens->[0] =~ /^(!?=|[<>]=?)$/;
    return ['value', $token];
}

sub evaluate {
    my ($op, @args) = @{ $_[0] };
    if ($op eq 'and') { my ($a, $b) = map { evaluate($_) } @args; return $a < $b ? $a : $b }
    if ($op eq 'or')  { my ($a, $b) = map { evaluate($_) } @args; return $a > $b ? $a : $b }
    return 2 - evaluate($args[0]) if $op eq 'not';
    return 2 * compare(@args) if $op eq 'compare';
    my $word = $args[0];
    # A test that Kconfig runs in the shell: taken for true, since its result is not written down anywhere.
    return 2 if $word =~ /^\$\(/;
    $word =~ s/^["'](.*)["']$/$1/;
    return $VALUE{$word} // $VALUE{ now($word) } // 0;
}

sub compare {
    my ($operator, $left, $right) = @_;
    my ($a, $b) = map { literal($_) } $left, $right;
    my $order = is_number($a) && is_number($b) ? number($a) <=> number($b) : $a cmp $b;
    return { '=' => $order == 0, '!=' => $order != 0, '<' => $order < 0, '>' => $order > 0,
        '<=' => $order <= 0, '>=' => $order >= 0 }->{$operator} ? 1 : 0;
}

sub literal {
    my ($word) = @_;
    return $1 if $word =~ /^["'](.*)["']$/;
    $word =~ s/^\$\((\w+)\)$/$ENV{$1} \/\/ ''/e;
    return $word if $word =~ /^([ymn]|\d.*|)$/ or !$symbol{$word};
    return now($word) =~ s/^"(.*)"$/$1/r;
}

sub conjuncts { my ($e) = @_; return $e->[0] eq 'and' ? map { conjuncts($_) } @$e[1, 2] : $e }

sub names {
    my ($op, @args) = @{ $_[0] };
    return $symbol{ $args[0] } ? $args[0] : () if $op eq 'value';
    return grep { $symbol{$_} } @args[1, 2] if $op eq 'compare';
    return map { names($_) } @args;
}

# An expression in Kconfig's own words, every symbol with its value.
sub render {
    my ($op, @args) = @{ $_[0] };
    my $inner = $_[1];
    return '!' . render($args[0], 1) if $op eq 'not';
    return join " $args[0] ", map { label($_) } @args[1, 2] if $op eq 'compare';
    return label($args[0]) if $op eq 'value';
    my $text = join $op eq 'and' ? ' && ' : ' || ', map { render($_, $args[0][0] ne $op || $_ != $args[0]) } @args;
    return $inner ? "($text)" : $text;
}

sub label {
    my ($word) = @_;
    return $word if $word =~ /^(["'\$]|\d|[ymn]$)/;
    return $symbol{$word} ? "$word (" . now($word) . ')' : "$word (not a symbol of this kernel)";
}
